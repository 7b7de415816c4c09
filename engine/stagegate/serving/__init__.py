"""The boundary between an engine and whoever serves it."""
