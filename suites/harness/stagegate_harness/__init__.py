"""The pytest plugin behind the suites: options, axes, requirements, stages and criteria."""
