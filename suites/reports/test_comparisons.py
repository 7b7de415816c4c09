"""Slot against block and the engine against its peers."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest

from stagegate_baselines.records import Better
from stagegate_reports.comparisons import compare_along, gain
from stagegate_reports.model import CaseView, MetricView


def metric(name: str, value: float | None, better: Better = Better.HIGHER) -> MetricView:
    return MetricView(
        name=name, unit="tok/s", better=better, judged=True, launches=((value,),), value=value,
        low=value, high=value, baseline=None, change=None,
        history=(), verdict=None,
    )  # fmt: skip


def rates(name: str, *samples: float) -> MetricView:
    return replace(metric(name, median(samples)), launches=(samples,))


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
    block = {"kv_layout": "block", "attention_backend": "native", "batch": "8"}
    slot = {"kv_layout": "slot", "attention_backend": "csr", "batch": "8"}
    rows = compare_along(
        "kv_layout",
        "block",
        [
            case("bench[slot]", slot, metric("latency", 20.0, Better.LOWER)),
            case("bench[block]", block, metric("latency", 10.0, Better.LOWER), metric("rate", 1.0)),
            case("bench[block-1]", block | {"batch": "1"}, metric("latency", 1.0)),
            case("other[block]", block, metric("latency", 1.0)),
            case("bench", {"batch": "8"}, metric("latency", 1.0)),
        ],
        free=("attention_backend",),
    )
    (row,) = rows
    assert (row.case.name, row.other.name, row.word) == ("bench[block]", "bench[slot]", "slot")
    assert (row.gain, row.interval) == (2.0, None)


def test_every_backend_of_block_meets_slot() -> None:
    sides = [("block", "native"), ("block", "csr"), ("slot", "csr")]
    cases = [
        case(
            f"b[{kv_layout}-{attention_backend}]",
            {"kv_layout": kv_layout, "attention_backend": attention_backend},
            metric("rate", 1.0),
        )
        for kv_layout, attention_backend in sides
    ]
    rows = compare_along("kv_layout", "block", cases, free=("attention_backend",))
    assert [row.case.name for row in rows] == ["b[block-csr]", "b[block-native]"]
    assert compare_along("kv_layout", "block", cases) == tuple(
        row for row in rows if row.case.name == "b[block-csr]"
    )


def test_every_peer_meets_the_engine() -> None:
    cases = [
        case(f"decode[{engine}]", {"engine": engine}, metric("rate", rate), metric("share", 1.0))
        for engine, rate in (("stagegate", 300.0), ("transformers", 100.0), ("vllm", 600.0))
    ]
    rows = compare_along("engine", "stagegate", cases, same_rounds=True)
    assert [(row.word, row.metric, row.gain) for row in rows] == [
        ("transformers", "rate", pytest.approx(3.0)),
        ("transformers", "share", 1.0),
        ("vllm", "rate", pytest.approx(0.5)),
        ("vllm", "share", 1.0),
    ]


def test_pairs_of_rounds_give_an_interval() -> None:
    """What both sides of a pair shared does not widen it."""
    theirs = (100.0, 50.0, 200.0)
    ours = tuple(1.1 * rate for rate in theirs)
    cases = [
        case(f"decode[{engine}]", {"engine": engine}, rates("rate", *samples))
        for engine, samples in (("stagegate", ours), ("vllm", theirs))
    ]
    (row,) = compare_along("engine", "stagegate", cases, same_rounds=True)
    assert row.gain == pytest.approx(1.1)
    assert row.interval is not None
    assert list(row.interval) == pytest.approx([1.1, 1.1])
    (row,) = compare_along("engine", "stagegate", cases)
    assert row.interval is None
