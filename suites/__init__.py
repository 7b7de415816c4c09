"""Staged tests and benchmarks of the engine."""
