"""Collecting what CUPTI hands over, with a stand-in for its library."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stagegate_harness import kernel_trace
from stagegate_harness.kernel_trace import TraceError, direction_of, plain_call
from stagegate_harness.trace_events import ApiCall, Copy, Fill, Kernel, Range
from suites.harness.conftest import UseCupti
from suites.harness.fake_cupti import CALLS, COPY, FILL, KERNEL, Kind


def test_records_become_values(use_cupti: UseCupti) -> None:
    cupti = use_cupti(KERNEL, COPY, FILL, *CALLS)
    with kernel_trace.kernel_trace(calls=True) as trace:
        assert cupti.enabled == set(Kind) - {Kind.OVERHEAD}
    assert trace.kernels == [Kernel("ns::k(int)", 150, 180, 0, 13, (4, 2, 1), (64, 1, 1))]
    assert trace.copies == [Copy("host to device", 120, 180, 0, 13, 512)]
    assert trace.fills == [Fill(150, 180, 0, 13, 32)]
    assert trace.calls == [
        ApiCall("cuMemAlloc", 105, 109, 3),
        ApiCall("cudaMemcpyAsync", 110, 115, 3),
    ]
    assert (trace.start_ns, trace.end_ns) == (100, 200)


def mark(number: int, at: int, name: str | None, domain: str = "ours") -> SimpleNamespace:
    where = SimpleNamespace(pt=SimpleNamespace(thread_id=3))
    flags = 4 if name is None else 2
    return SimpleNamespace(
        kind=12,
        id=number,
        domain=domain,
        timestamp=at,
        name=name or "",
        flags_=flags,
        object_id=where,
    )


def test_ranges_are_put_together(use_cupti: UseCupti) -> None:
    """By their numbers; what has only one end in the trace is left out."""
    use_cupti(
        mark(9, 100, None),
        mark(1, 110, "step"),
        mark(2, 110, "layer"),
        mark(2, 130, None),
        mark(1, 190, None),
        mark(4, 191, "theirs", domain=""),
        mark(4, 192, None, domain=""),
        mark(3, 195, "step"),
    )
    with kernel_trace.kernel_trace() as trace:
        pass
    assert trace.ranges == [
        Range("ours", "step", 110, 190, 3),
        Range("ours", "layer", 110, 130, 3),
        Range(None, "theirs", 191, 192, 3),
    ]


def test_calls_are_traced_on_demand(use_cupti: UseCupti) -> None:
    cupti = use_cupti(KERNEL)
    with kernel_trace.kernel_trace():
        assert cupti.enabled == {Kind.CONCURRENT_KERNEL, Kind.MEMCPY, Kind.MEMSET, Kind.MARKER}
    with kernel_trace.kernel_trace() as second:
        pass
    assert len(second.kernels) == 1
    assert cupti.registered == 1


def test_nothing_stays_switched_on_when_the_work_fails(use_cupti: UseCupti) -> None:
    cupti = use_cupti()
    with pytest.raises(ZeroDivisionError), kernel_trace.kernel_trace():
        _ = 1 / 0
    assert cupti.enabled == set()
    with kernel_trace.kernel_trace():
        pass


def test_one_trace_at_a_time(use_cupti: UseCupti) -> None:
    use_cupti()
    with (
        kernel_trace.kernel_trace(),
        pytest.raises(TraceError, match="a trace is running already"),
        kernel_trace.kernel_trace(),
    ):
        pass


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (SimpleNamespace(**(vars(KERNEL) | {"end": 0})), "1 kernels or copies had not ended"),
        (SimpleNamespace(kind=17), "1 records of CUPTI were not understood.*kind OVERHEAD"),
        (SimpleNamespace(kind=1, start=1), "were not understood.*AttributeError"),
    ],
)
def test_a_trace_that_is_not_whole_is_none(
    use_cupti: UseCupti, record: SimpleNamespace, message: str
) -> None:
    use_cupti(KERNEL, record)
    with pytest.raises(TraceError, match=message), kernel_trace.kernel_trace():
        pass


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, use_cupti: UseCupti) -> None:
    monkeypatch.setattr(kernel_trace, "find_spec", lambda name: None)
    assert kernel_trace.missing() == "no cupti-python (pip install -e '.[gpu]')"
    cupti = use_cupti()
    assert kernel_trace.missing() is None
    cupti.refused = Kind.MEMCPY
    assert kernel_trace.missing() == "CUPTI: activity_enable: insufficient privileges"
    assert cupti.enabled == set()


def test_names_of_calls_and_directions() -> None:
    names = ["cudaMemcpyAsync_v3020", "cudaLaunchKernel_ptsz_v7000", "cuMemAllocAsync_ptsz"]
    plain = ["cudaMemcpyAsync", "cudaLaunchKernel", "cuMemAllocAsync"]
    assert [plain_call(name) for name in names] == plain
    assert plain_call("cuMemcpyHtoDAsync_v2") == "cuMemcpyHtoDAsync"
    assert [direction_of(kind) for kind in ("HTOD", "DTOH", "DTOD", "PTOP", "UNKNOWN")] == [
        "host to device", "device to host", "device to device", "peer to peer", "unknown",
    ]  # fmt: skip
