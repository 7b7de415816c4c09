"""From records to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stagegate_baselines.evidence import add_up
from stagegate_baselines.peers import ENGINE, OURS
from stagegate_baselines.records import Record
from stagegate_baselines.states import CriterionState, StageState
from stagegate_reports.comparisons import compare_along
from stagegate_reports.measured import collect_cases
from stagegate_reports.model import (
    AcceptedVersion,
    CriterionView,
    GateRun,
    Picture,
    Report,
    StagePlan,
    StageView,
)
from stagegate_reports.provenance import environments, machines, origin, revision

History = Mapping[str, Sequence[AcceptedVersion]]
Pictures = Mapping[str, Sequence[Picture]]

# The order in which tests are shown.
_SHOWN = ("failed", "skipped", "left-out", "passed")


def assemble(
    plans: Sequence[StagePlan],
    records: Sequence[Record],
    history: History | None = None,
    gates: Sequence[GateRun] = (),
    pictures: Pictures | None = None,
    *,
    title: str = "Report",
) -> Report:
    """A report of these records, which are all taken to be of now.

    history: accepted versions of a stage, oldest first. gates: whose new launches are among the
    records. pictures: of a stage. title: the name of the project.
    Records of a stage that no plan names are shown without one. ValueError without any record.
    """
    if not records:
        msg = "a report needs at least one record"
        raise ValueError(msg)
    history, pictures = history or {}, pictures or {}
    ordered = sorted(records, key=lambda record: (record.created, record.launch or 0))
    known = {plan.name for plan in plans}
    stages = []
    for plan in plans:
        of_stage = [record for record in ordered if record.stage == plan.name]
        past = history.get(plan.name, ())
        seen = pictures.get(plan.name, ())
        judged = [gate for gate in gates if gate.stage == plan.name]
        stages.append(_stage(plan, of_stage, past, judged, seen))
    unstaged = [record for record in ordered if record.stage not in known]
    others = collect_cases(None, unstaged, ())
    cases = [case for stage in stages for case in stage.cases] + list(others)
    return Report(
        title=title,
        created=ordered[-1].created,
        stages=tuple(stages),
        unstaged=others,
        # Attention of the slot layout has one form only.
        layouts=compare_along("kv_layout", "block", cases, free=("attention_backend",)),
        peers=compare_along(ENGINE, OURS, cases, same_rounds=True),
        machines=machines(ordered),
        environments=environments(ordered),
        records=tuple(origin(record) for record in ordered),
    )


def _stage(
    plan: StagePlan,
    records: Sequence[Record],
    history: Sequence[AcceptedVersion],
    gates: Sequence[GateRun],
    pictures: Sequence[Picture],
) -> StageView:
    sentences = dict(plan.criteria)
    for record in records:
        for evidence in record.evidence:
            sentences.setdefault(evidence.criterion, evidence.sentence)
    counted = _counted(records)
    criteria = tuple(_criterion(name, text, counted) for name, text in sentences.items())
    return StageView(
        name=plan.name,
        title=plan.title,
        state=_state([criterion.state for criterion in criteria], ran=bool(records)),
        criteria=criteria,
        cases=collect_cases(plan.name, records, history, gates),
        notes=_notes(records),
        pictures=tuple(pictures),
    )


def _state(states: Sequence[CriterionState], *, ran: bool) -> StageState:
    if not ran:
        return StageState.OPEN
    if CriterionState.FAILED in states:
        return StageState.FAILED
    if CriterionState.UNPROVED in states or not states:
        return StageState.UNPROVED
    return StageState.PASSED


def _counted(records: Sequence[Record]) -> list[Record]:
    """Whose evidence adds up: that of the newest record with any, and of what it is about.

    What another revision, machine, device or checkpoint proved says nothing about this one. A tree
    with changes is no revision: its next record may be of other changes.
    """
    proving = [record for record in records if record.evidence]
    if not proving or not _is_clean(proving[-1]):
        return proving[-1:]
    return [record for record in proving if _subject(record) == _subject(proving[-1])]


def _is_clean(record: Record) -> bool:
    return record.environment.git_revision is not None and record.environment.git_dirty is False


def _subject(record: Record) -> tuple[str | None, ...]:
    return revision(record), record.machine_key, record.device, record.model_digest


def _criterion(name: str, sentence: str, records: Sequence[Record]) -> CriterionView:
    """Over several records."""
    found = [item for record in records for item in record.evidence if item.criterion == name]
    state, tests = add_up(found)
    ordered = sorted(tests, key=lambda test: (_SHOWN.index(test.outcome), test.test))
    return CriterionView(name, sentence, state, tuple(ordered))


def _notes(records: Sequence[Record]) -> tuple[str, ...]:
    notes = []
    revisions = sorted({revision(record) for record in records if record.legacy is None})
    if len(revisions) > 1:
        notes.append(f"Its records are of different revisions: {', '.join(revisions)}.")
    if any(record.environment.git_dirty for record in records):
        notes.append("The working tree had changes that no revision holds.")
    if len({record.machine_key for record in records}) > 1:
        notes.append("Its records are of different machines.")
    notes += sorted(
        {f"A run ended early: {record.interrupted}." for record in records if record.interrupted}
    )
    if counted := _counted(records):
        of, machine, *_ = _subject(counted[-1])
        if any(record.evidence and record not in counted for record in records):
            about = "" if _is_clean(counted[-1]) else ", and of its newest record"
            notes.append(
                f"What proves its criteria is of revision {of} on machine {machine} alone{about}."
            )
    samples = [sample for record in records for sample in record.telemetry]
    # A GPU with nothing to do lowers its clocks, which slows nothing.
    if reasons := sorted({r for sample in samples for r in sample.throttle_reasons} - {"gpu-idle"}):
        notes.append(f"A GPU slowed itself down during the run: {', '.join(reasons)}.")
    if any(sample.other_processes for sample in samples):
        notes.append("Other processes used a GPU during the run.")
    notes += sorted({f"Imported: {record.legacy}" for record in records if record.legacy})
    return tuple(notes)
