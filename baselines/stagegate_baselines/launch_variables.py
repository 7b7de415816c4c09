"""Environment variables of a launch: a gate sets them, and the harness obeys them."""

from __future__ import annotations

# Slows cases down on purpose: stagegate_harness/planted.py.
PLANT = "STAGEGATE_PLANT"
# The number that the order of the cases is shuffled by: stagegate_harness/stage_run.py. Each pair
# of launches has another, so that no case always follows the same one.
CASE_ORDER = "STAGEGATE_CASE_ORDER"
# never, or anything else: stagegate_harness/traced_rounds.py. A gate needs no traces.
KERNEL_TRACE = "STAGEGATE_KERNEL_TRACE"
