"""What is wrong with how a load is described. A failed request is counted, never raised."""


class LoadError(ValueError):
    """A value that describes no load; the message names it and what is wanted."""
