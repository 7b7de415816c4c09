"""Comparisons with other engines on the same work, in the same rounds: nox -s compare."""
