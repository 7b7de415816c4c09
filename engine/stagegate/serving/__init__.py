"""The boundary between an engine and its server."""
