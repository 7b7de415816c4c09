"""Every operator against a float64 reference, at the edges of its contract."""
