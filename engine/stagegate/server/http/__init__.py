"""What every route shares: limits, errors, authentication, metrics."""
