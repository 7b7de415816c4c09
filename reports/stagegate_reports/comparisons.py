"""Comparisons inside one run: slot against block, and the engine against its peers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stagegate_baselines.records import Better
from stagegate_reports.model import CaseView, LayoutRow, MetricView, PeerRow

OURS = "stagegate_"


def compare_layouts(cases: Iterable[CaseView]) -> tuple[LayoutRow, ...]:
    """Every block case beside the slot case of the same work, metric by metric.

    Attention of the slot layout has one form only, so the backend may differ between the two.
    """
    sides: dict[tuple[object, ...], dict[str, list[CaseView]]] = {}
    for case in cases:
        params = dict(case.params)
        layout = params.pop("layout", "")
        params.pop("backend", None)
        work = (
            case.stage, case.machine_key, case.suite, case.name.partition("[")[0],
            case.model_digest, tuple(sorted(params.items())),
        )  # fmt: skip
        sides.setdefault(work, {}).setdefault(layout, []).append(case)
    return tuple(
        row
        for side in sides.values()
        for slot in side.get("slot", ())
        for block in sorted(side.get("block", ()), key=lambda case: case.name)
        for row in _rows(block, slot)
    )


def compare_peers(cases: Iterable[CaseView]) -> tuple[PeerRow, ...]:
    """Metrics named stagegate_X beside every other <peer>_X of the same case."""
    return tuple(
        PeerRow(
            case=case,
            quantity=ours.name.removeprefix(OURS),
            unit=ours.unit,
            better=ours.better,
            peer=theirs.name.removesuffix(ours.name.removeprefix(OURS)).rstrip("_"),
            ours=ours.value,
            theirs=theirs.value,
            gain=gain(ours.value, theirs.value, ours.better),
        )
        for case in cases
        for ours in _named(case.metrics, OURS)
        for theirs in case.metrics
        if theirs is not ours and theirs.name.endswith(ours.name.removeprefix("stagegate"))
    )


def gain(value: float | None, other: float | None, better: Better) -> float | None:
    """How many times better value is than other; None unless both are positive."""
    if value is None or other is None or value <= 0 or other <= 0:
        return None
    return value / other if better is Better.HIGHER else other / value


def _rows(block: CaseView, slot: CaseView) -> Iterable[LayoutRow]:
    slot_metrics = {metric.name: metric for metric in slot.metrics}
    for metric in block.metrics:
        other = slot_metrics.get(metric.name)
        if metric.judged and other is not None:
            yield LayoutRow(
                block=block,
                slot=slot,
                metric=metric.name,
                unit=metric.unit,
                better=metric.better,
                block_value=metric.value,
                slot_value=other.value,
                gain=gain(metric.value, other.value, metric.better),
            )


def _named(metrics: Sequence[MetricView], prefix: str) -> list[MetricView]:
    return [metric for metric in metrics if metric.name.startswith(prefix)]
