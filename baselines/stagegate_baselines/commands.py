"""What the commands of stagegate-harness do with the store."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from stagegate_baselines import fingerprint, quantities, tables
from stagegate_baselines.acceptable import faults
from stagegate_baselines.gate.noise import blindness
from stagegate_baselines.record_file import json_schema, read_record
from stagegate_baselines.records import Metric, MetricClass, Record
from stagegate_baselines.repair import repair as repair_store
from stagegate_baselines.samples import median
from stagegate_baselines.states import CriterionState
from stagegate_baselines.store import Entry, Store, StoreError, UnknownRecordError


def add(options: Namespace, store: Store) -> None:
    record = read_record(options.file)
    revision = record.environment.git_revision
    label = options.label or (revision[:8] if revision else "unversioned")
    print(store.add(record, label).name)


def list_records(options: Namespace, store: Store) -> None:
    rows = []
    for entry in selected(options, store):
        record = store.load(entry)
        proved = sum(evidence.state is CriterionState.PROVED for evidence in record.evidence)
        rows.append(
            (
                "*" if _baseline(store, entry.folder) == entry else "",
                entry.name,
                entry.label,
                record.created,
                _revision(record),
                str(len(record.cases)),
                f"{proved}/{len(record.evidence)}",
                record.machine.cpu,
                "; ".join(faults(record)),
            )
        )
    if not rows:
        print(f"no records in {store.root}")
        return
    columns = ("*", "record", "label", "created", "revision", "cases", "proved", "cpu", "remark")
    tables.show("records; a star marks the accepted ones", columns, rows)


def show(options: Namespace, store: Store) -> None:
    entry = store.find(options.name)
    record = store.load(entry)
    if options.json:
        print(record.model_dump_json(indent=2))
        return
    print(entry.name, entry.label, record.created)
    if record.legacy is not None:
        print(record.legacy)
    rows = [(name, json.dumps(value)) for name, value in _facts(record).items()]
    tables.show("machine and environment", ("fact", "value"), rows)
    medians = [
        (
            case.name,
            metric.name,
            tables.number(median(metric.samples)),
            metric.unit,
            str(_count(metric)),
        )
        for case in record.cases
        for metric in case.metrics
    ]
    if medians:
        print()
        tables.show("medians", ("case", "metric", "median", "unit", "rounds"), medians)
    for case in record.cases:
        for reason in case.invalid:
            print(f"{case.name} is invalid: {reason}")
    criteria = [
        (evidence.criterion, evidence.state, str(len(evidence.tests)), evidence.sentence)
        for evidence in record.evidence
    ]
    if criteria:
        print()
        tables.show("criteria", ("criterion", "state", "tests", "sentence"), criteria)


def diff(options: Namespace, store: Store) -> None:
    old, new = (store.load(store.find(name)) for name in (options.old, options.new))
    before, after = _medians(old), _medians(new)
    judged = {
        (case.name, metric.name): metric.better
        for case in new.cases
        for metric in case.metrics
        if metric.metric_class is not MetricClass.INFO
    }
    rows = []
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        change = other / one - 1 if one and other is not None else None
        # What is for information has no better or worse.
        words = (
            quantities.change(change, judged[key]) if key in judged else quantities.percent(change)
        )
        rows.append((*key, tables.number(one), tables.number(other), words))
    tables.show("medians", ("case", "metric", "old", "new", "change"), rows)
    facts, others = _facts(old), _facts(new)
    differing = [
        (name, json.dumps(facts[name]), json.dumps(others[name]))
        for name in facts
        if facts[name] != others[name]
    ]
    if differing:
        print()
        tables.show("differences", ("fact", "old", "new"), differing)


def history(options: Namespace, store: Store) -> None:
    entries = selected(options, store)
    if options.case is None:
        rows = [
            (item.when, item.old or "nothing", item.new, item.who or "-", item.why)
            for folder in sorted({entry.folder for entry in entries})
            for item in store.history(folder)
        ]
        tables.show("acceptances", ("when", "old", "new", "who", "why"), rows)
        return
    medians = [
        (entry.name, entry.label, record.created, metric, tables.number(value))
        for entry in entries
        for record in (store.load(entry),)
        for (case, metric), value in sorted(_medians(record).items())
        if case == options.case
    ]
    if not medians:
        msg = f"no record of case {options.case}; `stagegate-harness show` lists a record's cases"
        raise UnknownRecordError(msg)
    tables.show(options.case, ("record", "label", "created", "metric", "median"), medians)


def accept(options: Namespace, store: Store) -> None:
    chosen = [store.find(options.name)] if options.name else _newest(options.stage, store)
    for entry in chosen:  # all are looked at before one is accepted
        for fault in faults(store.load(entry), dirty_allowed=options.dirty):
            msg = f"{entry.name} cannot be a baseline: {fault}"
            raise StoreError(msg)
        if _baseline(store, entry.folder) == entry:
            msg = f"{entry.name} is the baseline already"
            raise StoreError(msg)
        lost = _lost_cases(store, entry)
        if lost and not options.fewer_cases:
            msg = (
                f"{entry.name} lacks {len(lost)} cases of the present baseline: {', '.join(lost)}; "
                "measure them too, or give them up with --fewer-cases"
            )
            raise StoreError(msg)
    for entry in chosen:
        accepted = store.accept(entry, why=options.why, who=options.who)
        print(f"{accepted.old or 'nothing'} -> {accepted.new}")
        show_noise([store.load(item) for item in store.launches(entry)])


def repair(_: Namespace, store: Store) -> None:
    for line in repair_store(store) or ["nothing to repair"]:
        print(line)


def show_noise(launches: Sequence[Record]) -> None:
    """How much each case differs from launch to launch, and what a stored baseline cannot see."""
    rows = [
        (case, metric, f"{100 * sigma:.1f} %", f"{100 * least:.1f} %", remark)
        for (case, metric, sigma, least, remark) in blindness(launches)
    ]
    if rows:
        print()
        title = "what --mode stored cannot see against these launches"
        tables.show(title, ("case", "metric", "launch sd", "changes below", "remark"), rows)


def prune(options: Namespace, store: Store) -> None:
    for folder in sorted({entry.folder for entry in selected(options, store)}):
        for entry in store.prune(folder, options.keep):
            print(f"deleted {entry.name} {entry.label}")


def print_schema() -> None:
    print(json.dumps(json_schema(), indent=2))


def selected(options: Namespace, store: Store) -> list[Entry]:
    """The records of one machine and stage."""
    return [
        entry
        for entry in store.entries()
        if entry.folder.parent.name.startswith(options.machine)
        and options.stage in (None, entry.folder.name)
    ]


def _lost_cases(store: Store, entry: Entry) -> list[str]:
    """Cases of the present baseline that no launch of the set of an entry has."""
    baseline = _baseline(store, entry.folder)
    if baseline is None:
        return []
    new = {case.name for item in store.launches(entry) for case in store.load(item).cases}
    return [case.name for case in store.load(baseline).cases if case.name not in new]


def _newest(stage: str | None, store: Store) -> list[Entry]:
    """The newest record of each stage on this machine, unless it is the baseline."""
    machine_key = fingerprint.digest(fingerprint.machine())
    # Later entries of a folder replace earlier ones.
    newest = {
        entry.folder: entry
        for entry in store.entries()
        if entry.folder.parent.name == machine_key and stage in (None, entry.folder.name)
    }
    chosen = [entry for folder, entry in newest.items() if _baseline(store, folder) != entry]
    if not chosen:
        msg = f"no record of this machine ({machine_key}) that is not accepted; add one first"
        raise UnknownRecordError(msg)
    return chosen


def _baseline(store: Store, folder: Path) -> Entry | None:
    return store.accepted(folder.parent.name, folder.name)


def _facts(record: Record) -> dict[str, object]:
    return {**record.machine.model_dump(), **record.environment.model_dump()}


def _medians(record: Record) -> dict[tuple[str, str], float | None]:
    return {
        (case.name, metric.name): median(metric.samples)
        for case in record.cases
        for metric in case.metrics
    }


def _count(metric: Metric) -> int:
    return sum(sample is not None for sample in metric.samples)


def _revision(record: Record) -> str:
    """With a plus where the tree had changes."""
    revision = (record.environment.git_revision or "-")[:8]
    return f"{revision}+" if record.environment.git_dirty else revision
