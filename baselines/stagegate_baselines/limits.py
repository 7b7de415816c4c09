"""Metrics that state a case as a share of what the machine can do."""

from __future__ import annotations

# And what that limit is called. The largest share is of the limit that a case comes nearest to.
LIMITS = {
    "share_of_copy": "memory",
    "share_of_read": "memory",
    "share_of_matmul": "arithmetic",
}
