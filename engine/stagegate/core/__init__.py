"""Requests, scheduling and the loop of steps."""
