"""Which records may become a baseline."""

from __future__ import annotations

from collections.abc import Iterator

from stagegate_baselines import launch_variables
from stagegate_baselines.records import Record
from stagegate_baselines.states import CriterionState


def faults(record: Record, *, dirty_allowed: bool = False) -> Iterator[str]:
    """Why a record must not be a baseline; nothing when it may."""
    if record.legacy is not None:
        yield "it is a legacy record, of no run of these suites"
    if not record.cases:
        yield "it has no benchmark to compare with"
    if launch_variables.PLANT in record.environment.variables:
        yield "it was slowed down on purpose"
    if record.interrupted is not None:
        yield f"its run ended early: {record.interrupted}"
    for case in record.cases:
        if case.invalid:
            yield f"{case.name} is invalid: {'; '.join(case.invalid)}"
    for evidence in record.evidence:
        if evidence.state is CriterionState.FAILED:
            yield f"{evidence.criterion} failed: {evidence.sentence}"
    if record.environment.git_dirty and not dirty_allowed:
        yield "the source tree had uncommitted changes, so nobody can build it again (or: --dirty)"
