"""What the harness has to know of this engine: a pytest plugin beside the harness."""
