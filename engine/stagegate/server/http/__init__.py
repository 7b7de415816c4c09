"""Shared by all routes: limits, errors, authentication, metrics."""
