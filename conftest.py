"""Loads the harness for every suite: its options must be known before any suite is collected."""

pytest_plugins = ["suites.harness.plugin", "pytester"]
