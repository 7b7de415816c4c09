"""Slot against block and the engine against its peers."""

from __future__ import annotations

import pytest

from stagegate_baselines.records import Better
from stagegate_reports.comparisons import compare_layouts, compare_peers, gain
from stagegate_reports.model import CaseView, MetricView


def metric(name: str, value: float | None, better: Better = Better.HIGHER) -> MetricView:
    return MetricView(
        name=name, unit="tok/s", better=better, judged=True, launches=((value,),), value=value,
        low=value, high=value, baseline=None, change=None,
        history=(), verdict=None,
    )  # fmt: skip


def case(name: str, params: dict[str, str], *metrics: MetricView) -> CaseView:
    return CaseView(
        anchor=name, stage="stage0", suite="offline", name=name, params=tuple(params.items()),
        workload_hash="0" * 16, model_digest=None, machine_key="0" * 16, invalid=(),
        launches=("launch 1",), metrics=metrics, versions=(), baseline_label=None, differences=(),
        hot_path=None, compared="1 launch",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("value", "other", "better", "expected"),
    [
        (120.0, 100.0, Better.HIGHER, 1.2),
        (100.0, 120.0, Better.LOWER, 1.2),
        (0.0, 100.0, Better.HIGHER, None),
        (None, 100.0, Better.HIGHER, None),
        (100.0, None, Better.LOWER, None),
    ],
)
def test_gain(
    value: float | None, other: float | None, better: Better, expected: float | None
) -> None:
    assert gain(value, other, better) == (None if expected is None else pytest.approx(expected))


def test_layouts_meet_on_the_same_work_alone() -> None:
    block = {"layout": "block", "backend": "native", "batch": "8"}
    slot = {"layout": "slot", "backend": "csr", "batch": "8"}
    rows = compare_layouts(
        [
            case("bench[slot]", slot, metric("latency", 20.0, Better.LOWER)),
            case("bench[block]", block, metric("latency", 10.0, Better.LOWER), metric("rate", 1.0)),
            case("bench[block-1]", block | {"batch": "1"}, metric("latency", 1.0)),
            case("other[block]", block, metric("latency", 1.0)),
            case("bench", {"batch": "8"}, metric("latency", 1.0)),
        ]
    )
    (row,) = rows
    assert (row.block.name, row.slot.name, row.gain) == ("bench[block]", "bench[slot]", 2.0)


def test_every_backend_of_block_meets_slot() -> None:
    sides = [("block", "native"), ("block", "csr"), ("slot", "csr")]
    rows = compare_layouts(
        case(f"b[{layout}-{backend}]", {"layout": layout, "backend": backend}, metric("rate", 1.0))
        for layout, backend in sides
    )
    assert [row.block.name for row in rows] == ["b[block-csr]", "b[block-native]"]


def test_peers_are_found_by_name() -> None:
    measured = case(
        "decode", {},
        metric("stagegate_tok_s", 300.0), metric("transformers_tok_s", 100.0),
        metric("vllm_tok_s", 600.0), metric("ratio", 3.0), metric("tokens_per_sec", 5.0),
    )  # fmt: skip
    rows = compare_peers([measured])
    assert [(row.peer, row.quantity, row.gain) for row in rows] == [
        ("transformers", "tok_s", 3.0),
        ("vllm", "tok_s", 0.5),
    ]
