"""What the records of stage 6 have to show: the launches that were accepted, and a comparison.

Each function lists the faults it finds; nothing where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stagegate_baselines.gains import gain_of
from stagegate_baselines.gate.base import LEAST_STORED_LAUNCHES
from stagegate_baselines.gate.noise import launch_noise
from stagegate_baselines.gate.verdict import CLASS_FLOORS
from stagegate_baselines.peers import ENGINE, peer_comparisons, share_of_limit
from stagegate_baselines.quantities import share
from stagegate_baselines.records import Case, Metric, Record
from stagegate_baselines.samples import median
from stagegate_baselines.store import Store
from suites.offline.throughput_cases import throughput_cases
from suites.offline.throughput_model import preset_for

STAGE = "stage6"
KV_LAYOUTS = ("slot", "block")
CASES = throughput_cases()
# Fewer give an interval that says little.
LEAST_ROUNDS = 3


def accepted_launches(store: Store) -> list[Record]:
    """The set that was accepted last on a machine with a GPU; empty where none was."""
    newest: list[tuple[str, list[Record]]] = []
    for folder in store.root.glob(f"*/{STAGE}"):
        history = store.history(folder)
        if history:
            entry = store.find(history[-1].new)
            launches = [store.load(item) for item in store.launches(entry)]
            if launches[0].machine.gpus:
                newest.append((history[-1].when, launches))
    return max(newest, key=lambda item: item[0])[1] if newest else []


def newest_comparison(store: Store, peer: str) -> Record | None:
    """The newest record of another engine on a GPU; None where there is none."""
    entries = [entry for entry in store.entries() if entry.folder.name == STAGE]
    for entry in sorted(entries, key=lambda entry: entry.created, reverse=True):
        record = store.load(entry)
        named = {case.params.get(ENGINE) for case in record.cases}
        if peer in named and record.machine.gpus:
            return record
    return None


def table_faults(launches: Sequence[Record]) -> Iterator[str]:
    """Every case is in every launch, with its figures and its share of the limit."""
    if len(launches) < LEAST_STORED_LAUNCHES:
        yield f"{len(launches)} launches, and {LEAST_STORED_LAUNCHES} are needed"
    for number, record in enumerate(launches):
        yield from _case_faults(record, f"launch {number}", "test_start_up", "startup_s")
        for name, case in CASES.items():
            for kv_layout in KV_LAYOUTS:
                where = f"test_throughput[{preset_for('cuda')}-{kv_layout}-{name}]"
                yield from _case_faults(record, f"launch {number}", where, case.metric)
        if not any(case.name.startswith("test_decode_curve") for case in record.cases):
            yield f"launch {number} has no cost curve"


def _case_faults(record: Record, launch: str, name: str, metric: str) -> Iterator[str]:
    found = [case for case in record.cases if case.name in (name, f"{name}[{preset_for('cuda')}]")]
    if not found:
        yield f"{launch} lacks {name}"
    for case in found:
        yield from (f"{launch}: {name} is invalid: {reason}" for reason in case.invalid)
        if _value(case, metric) is None:
            yield f"{launch}: {name} has no {metric}"
        if name != "test_start_up" and share_of_limit(case) is None:
            yield f"{launch}: {name} has no share of the limit"


def spread_faults(launches: Sequence[Record]) -> Iterator[str]:
    """From launch to launch no judged metric varies by more than the floor of its class."""
    classes = {
        (case.name, metric.name): metric.metric_class
        for record in launches
        for case in record.cases
        for metric in case.metrics
    }
    for (case, _, metric, clock), sigma in launch_noise([launches]).items():
        floor = CLASS_FLOORS[classes[case, metric]]
        if clock.value == "wall" and sigma > floor:
            yield f"{case} {metric} varies by {share(sigma)}, and the floor is {share(floor)}"


def block_faults(launches: Sequence[Record]) -> Iterator[str]:
    """Where tokens are decoded, the block layout is faster than the slot layout by more than the
    launches vary."""
    for name, case in CASES.items():
        if case.metric != "tokens_per_sec":
            continue
        slot, block = (
            [
                _value(found, case.metric)
                for record in launches
                for found in record.cases
                if found.name == f"test_throughput[{preset_for('cuda')}-{kv_layout}-{name}]"
            ]
            for kv_layout in KV_LAYOUTS
        )
        better = next(_metrics(launches, case.metric)).better
        gain = gain_of(block, slot, better)
        if gain is None or gain.interval is None:
            yield f"{name}: not measured on both layouts"
        elif gain.interval[0] <= 1:
            low, high = gain.interval
            yield f"{name}: the block layout is {low:.2f} to {high:.2f} times as fast"


def comparison_faults(record: Record, peer: str) -> Iterator[str]:
    """Every case was run by both engines, often enough for an interval."""
    found = {
        str(item.case.params["case"]): item
        for item in peer_comparisons(record)
        if item.peer.params[ENGINE] == peer
    }
    for name in CASES:
        if name not in found:
            yield f"case {name} was not compared"
            continue
        item = found[name]
        reasons = (*item.case.invalid, *item.peer.invalid)
        yield from (f"case {name} is invalid: {reason}" for reason in reasons)
        if len(item.metric.samples) < LEAST_ROUNDS:
            yield f"case {name} has {len(item.metric.samples)} rounds, not {LEAST_ROUNDS}"
        if item.share is None:
            yield f"case {name} has no share of the limit"
        if "version" not in item.peer.setup:
            yield f"case {name} does not say which version of {peer} ran"


def _metrics(launches: Sequence[Record], name: str) -> Iterator[Metric]:
    for record in launches:
        for case in record.cases:
            yield from (metric for metric in case.metrics if metric.name == name)


def _value(case: Case, name: str) -> float | None:
    found = [metric for metric in case.metrics if metric.name == name]
    return median(found[0].samples) if found else None
