"""Versioned records of what was measured, and the gate that judges them."""
