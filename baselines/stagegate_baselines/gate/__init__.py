"""Is this tree worse than another, or than what was accepted? Launches, statistics, verdict."""
