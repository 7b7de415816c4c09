"""Cases of a report: launches of one case brought together, beside its accepted history."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from stagegate_baselines.records import Case, MetricClass, Record
from stagegate_baselines.samples import median
from stagegate_reports.differences import Difference, differences, facts
from stagegate_reports.model import (
    VERDICTS,
    AcceptedVersion,
    CaseView,
    GateRun,
    MetricView,
    Version,
)

# Cases are the same when all of this is: machine, suite, name, workload hash, model digest.
_Identity = tuple[str, str, str, str, str | None]
_Launch = tuple[Record, Case]
_Past = tuple[AcceptedVersion, list[_Launch]]


def collect_cases(
    stage: str | None,
    records: Sequence[Record],
    history: Sequence[AcceptedVersion],
    gates: Sequence[GateRun] = (),
) -> tuple[CaseView, ...]:
    """The cases of a stage's records, worst verdict first.

    gates: of the stage; their new launches are among the records, and of two gates that launched
    a case the later one counts.
    """
    launches: dict[_Identity, list[_Launch]] = {}
    for record in records:
        for case in record.cases:
            launches.setdefault(_identity(record, case), []).append((record, case))
    past = _index(history)
    changes: dict[tuple[str, str], tuple[Difference, ...]] = {}
    views = [
        _case(
            stage,
            group,
            past.get((group[0][1].suite, group[0][1].name), []),
            _gate_of(group, gates),
            changes,
        )
        for group in launches.values()
    ]
    return tuple(
        sorted(
            views,
            key=lambda view: (
                VERDICTS.index(view.verdict_word),
                view.suite,
                view.name,
                view.anchor,
            ),
        )
    )


def _identity(record: Record, case: Case) -> _Identity:
    return (record.machine_key, case.suite, case.name, case.workload_hash, case.model_digest)


def _gate_of(launches: Sequence[_Launch], gates: Sequence[GateRun]) -> GateRun | None:
    """The last gate with one of these launches."""
    found = [gate for gate in gates if _launched_by(gate, launches)]
    return found[-1] if found else None


def _launched_by(gate: GateRun, launches: Sequence[_Launch]) -> list[_Launch]:
    return [launch for launch in launches if any(launch[0] is record for record in gate.new)]


def _index(
    history: Sequence[AcceptedVersion],
) -> dict[tuple[str, str], list[_Past]]:
    """Launches by (suite, name), version by version."""
    index: dict[tuple[str, str], list[_Past]] = {}
    for version in history:
        found: dict[tuple[str, str], list[_Launch]] = {}
        for record in version.launches:
            for case in record.cases:
                found.setdefault((case.suite, case.name), []).append((record, case))
        for key, launches in found.items():
            index.setdefault(key, []).append((version, launches))
    return index


def _case(
    stage: str | None,
    launches: Sequence[_Launch],
    past: Sequence[_Past],
    gate: GateRun | None,
    changes: dict[tuple[str, str], tuple[Difference, ...]],
) -> CaseView:
    """gate: that launched the case.

    changes: differences already found, by the two environments' keys.
    """
    record, case = launches[0]
    identity = _identity(record, case)
    versions = tuple(
        Version(
            version.label,
            side[0][0].created,
            all(_identity(*launch) == identity for launch in side),
        )
        for version, side in past
    )
    # What a gate launched as its base compares with what it launched beside it.
    baseline = max(
        (
            i
            for i, version in enumerate(versions)
            if version.comparable and (gate is not None or not past[i][0].of_gate)
        ),
        default=None,
    )
    changed: tuple[Difference, ...] = ()
    if baseline is not None:
        before = past[baseline][1][0][0]
        keys = (before.environment_key, record.environment_key)
        if keys not in changes:
            changes[keys] = differences(facts(before.environment), facts(record.environment))
        changed = changes[keys]
    compared = launches if gate is None else _launched_by(gate, launches)
    metrics = [metric for _, case in launches for metric in case.metrics]
    # What is judged comes first, else in the order of the record.
    metrics.sort(key=lambda metric: metric.metric_class is MetricClass.INFO)
    names = dict.fromkeys(metric.name for metric in metrics)
    return CaseView(
        anchor=_anchor(stage, identity),
        stage=stage,
        suite=case.suite,
        name=case.name,
        params=tuple((name, str(value)) for name, value in case.params.items()),
        workload_hash=case.workload_hash,
        model_digest=case.model_digest,
        machine_key=record.machine_key,
        invalid=tuple(dict.fromkeys(reason for _, case in launches for reason in case.invalid)),
        launches=tuple(_label(record, number) for number, (record, _) in enumerate(launches, 1)),
        metrics=tuple(
            _metric(name, launches, compared, past, baseline=baseline, gate=gate) for name in names
        ),
        versions=versions,
        baseline_label=None if baseline is None else versions[baseline].label,
        compared=_compared(
            len(compared), gate, "" if baseline is None else versions[baseline].label
        ),
        differences=changed,
        hot_path=next((case.hot_path for _, case in launches if case.hot_path), None),
    )


def _metric(
    name: str,
    launches: Sequence[_Launch],
    compared: Sequence[_Launch],
    past: Sequence[_Past],
    *,
    baseline: int | None,
    gate: GateRun | None,
) -> MetricView:
    samples = tuple(_samples(case, name) for _, case in launches)
    rounds = [sample for launch in samples for sample in launch if sample is not None]
    history = tuple(median(median(_samples(case, name)) for _, case in side) for _, side in past)
    value = median(median(_samples(case, name)) for _, case in compared)
    before = None if baseline is None else history[baseline]
    found = None if gate is None else gate.found.get((launches[0][1].name, name))
    estimated = found is not None and found.change is not None
    if found is not None and estimated:
        value, before = found.new_median, found.base_median
    described = next(
        metric for _, case in launches for metric in case.metrics if metric.name == name
    )
    return MetricView(
        name=name,
        unit=described.unit,
        better=described.better,
        judged=described.metric_class is not MetricClass.INFO,
        launches=samples,
        value=value,
        low=min(rounds, default=None),
        high=max(rounds, default=None),
        baseline=before,
        change=found.change if found is not None and estimated else _ratio(value, before),
        history=history,
        verdict=found,
    )


def _ratio(value: float | None, before: float | None) -> float | None:
    """The relative change, of positive values."""
    if value is None or before is None or value <= 0 or before <= 0:
        return None
    return value / before - 1


def _compared(count: int, gate: GateRun | None, against: str) -> str:
    """Which launches the rows of a case are about."""
    launches = f"{count} {'launch' if count == 1 else 'launches'}"
    if gate is None:
        return f"{launches} against {against}" if against else launches
    sides = " a side" if gate.base else ""
    return f"{launches}{sides} of the gate against {gate.base_name}"


def _samples(case: Case, name: str) -> tuple[float | None, ...]:
    return next((metric.samples for metric in case.metrics if metric.name == name), ())


def _label(record: Record, number: int) -> str:
    return f"launch {number if record.launch is None else record.launch}"


def _anchor(stage: str | None, identity: _Identity) -> str:
    """An id that stays the same from report to report and holds nothing of the names."""
    text = "\0".join(map(str, (stage, *identity)))
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"case-{digest[:12]}"
