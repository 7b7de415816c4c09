"""Records of this engine and another one on the same work, and what they say."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass

from stagegate_baselines import quantities, tables
from stagegate_baselines.commands import selected
from stagegate_baselines.gains import Gain, gain_of
from stagegate_baselines.limits import LIMITS
from stagegate_baselines.records import Case, Metric, MetricClass, Record, Scalar
from stagegate_baselines.samples import median
from stagegate_baselines.store import Store

# The parameter that names who ran a case, and its value for the engine of this project.
ENGINE = "engine"
OURS = "stagegate"


@dataclass(frozen=True, slots=True)
class PeerComparison:
    """A case of this engine beside the same one of another. metric: the one they are compared by.

    gain: None where a side has no numbers. share: of the limit, reached by this engine.
    """

    case: Case
    peer: Case
    metric: Metric
    gain: Gain | None
    share: float | None

    @property
    def values(self) -> tuple[float | None, float | None]:
        """Medians over the rounds, ours and theirs."""
        return median(self.metric.samples), median(_samples(self.peer, self.metric.name))


def peer_comparisons(record: Record) -> tuple[PeerComparison, ...]:
    """What a record has of this engine and of others in the same rounds."""
    return tuple(
        PeerComparison(
            case=case,
            peer=peer,
            metric=metric,
            gain=(
                None
                if case.invalid or peer.invalid
                else gain_of(metric.samples, _samples(peer, metric.name), metric.better)
            ),
            share=share_of_limit(case),
        )
        for case in record.cases
        if case.params.get(ENGINE) == OURS
        for peer in record.cases
        if peer.params.get(ENGINE) != OURS and _work(peer) == _work(case)
        for metric in _lead(case)
    )


def share_of_limit(case: Case) -> float | None:
    """Of the limit that a case comes nearest to; None where it states none."""
    shares = [median(_samples(case, name)) for name in LIMITS]
    return max((share for share in shares if share is not None), default=None)


def show_comparisons(found: Sequence[tuple[PeerComparison, Record]]) -> None:
    """A line for each case. found: beside each the record that it is of."""
    rows = []
    for item, record in found:
        ours, theirs = item.values
        ratio, interval = (
            (None, None) if item.gain is None else (item.gain.ratio, item.gain.interval)
        )
        unit = item.metric.unit
        version = item.peer.setup.get("version")
        rows.append(
            (
                label_of(item.case),
                str(item.case.params.get("model", "-")),
                card_of(record),
                item.metric.name,
                quantities.number(ours, unit),
                " ".join(map(str, filter(None, (item.peer.params[ENGINE], version)))),
                quantities.number(theirs, unit),
                quantities.times(ratio),
                quantities.times_interval(interval),
                quantities.share(item.share),
                (record.environment.git_revision or "-")[:8]
                + ("+" if record.environment.git_dirty else ""),
                "; ".join((*item.case.invalid, *item.peer.invalid)),
            )
        )
    columns = (
        "case", "model", "card", "metric", "ours", "peer", "peer's", "ours is", "95 % interval",
        "share of limit", "revision", "remark",
    )  # fmt: skip
    tables.show("this engine beside others, each in the same rounds", columns, rows)


def show_peers(options: Namespace, store: Store) -> None:
    """Of each case, card and peer, the newest record of the store."""
    newest: dict[tuple[Scalar, ...], tuple[PeerComparison, Record]] = {}
    for entry in sorted(selected(options, store), key=lambda entry: entry.created):
        record = store.load(entry)
        for item in peer_comparisons(record):
            peer, model = item.peer.params[ENGINE], item.case.model_digest
            key = (item.case.suite, item.case.name, model, card_of(record), peer)
            newest[key] = item, record
    if not newest:
        print(f"no record of another engine in {store.root}; `nox -s compare` makes one")
        return
    show_comparisons(list(newest.values()))


def label_of(case: Case) -> str:
    """The name of a case of this engine, which need not name it."""
    return case.name.removesuffix(f"[{OURS}]")


def card_of(record: Record) -> str:
    """What the cases of a record ran on: its GPUs, else its processor."""
    names = [gpu.name for gpu in record.machine.gpus]
    return record.machine.cpu if record.device == "cpu" or not names else " + ".join(names)


def _work(case: Case) -> tuple[object, ...]:
    params = {name: value for name, value in case.params.items() if name != ENGINE}
    return case.suite, case.workload_hash, case.model_digest, tuple(sorted(params.items()))


def _lead(case: Case) -> list[Metric]:
    """The metric that speaks for a case: the first that is judged."""
    judged = [m for m in case.metrics if m.metric_class is not MetricClass.INFO]
    return judged[:1]


def _samples(case: Case, name: str) -> tuple[float | None, ...]:
    return next((metric.samples for metric in case.metrics if metric.name == name), ())
