"""Errors in the description of a load. Failed requests are counted, never raised."""


class LoadError(ValueError):
    """An invalid setting of a load; the message names it and the valid values."""
