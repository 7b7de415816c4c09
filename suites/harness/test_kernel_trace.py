"""Collecting what CUPTI hands over, with a stand-in for its library."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from baselines.gate import launches
from suites.harness import kernel_trace, traced_round
from suites.harness.kernel_trace import TraceError, direction_of, plain_call
from suites.harness.options import SETTINGS
from suites.harness.trace_events import ApiCall, Copy, Fill, Kernel, Range


class Kind(enum.IntEnum):
    MEMCPY = 1
    MEMSET = 2
    DRIVER = 4
    RUNTIME = 5
    CONCURRENT_KERNEL = 10
    MARKER = 12
    OVERHEAD = 17


class FakeCupti:
    """The part of cupti-python that is used; delivers its records at the flush."""

    ActivityKind = Kind
    ActivityFlag = SimpleNamespace(MARKER_START=2)
    ActivityMemcpyKind = enum.IntEnum("ActivityMemcpyKind", {"HTOD": 1, "DTOH": 2})
    CallbackDomain = SimpleNamespace(DRIVER_API=1, RUNTIME_API=2)

    def __init__(self, *records: SimpleNamespace) -> None:
        self.records = list(records)
        self.enabled: set[Kind] = set()
        self.refused: Kind | None = None
        self.registered = 0
        self._clock = 0

    def activity_register_callbacks(self, request: Callable, completed: Callable) -> None:
        size_bytes, most = request()
        assert size_bytes > 0
        assert most == 0
        self.registered += 1
        self._completed = completed

    def activity_enable(self, kind: Kind) -> None:
        if kind == self.refused:
            msg = "insufficient privileges"
            raise RuntimeError(msg)
        self.enabled.add(kind)

    def activity_disable(self, kind: Kind) -> None:
        self.enabled.remove(kind)

    def activity_flush_all(self, flag: int) -> None:
        assert flag == 1
        assert not self.enabled  # what the flush itself did would be in the trace
        self._completed(self.records)

    def get_timestamp(self) -> int:
        self._clock += 100
        return self._clock

    def get_callback_name(self, domain: int, cbid: int) -> str:
        return {(2, 41): "cudaMemcpyAsync_v3020", (1, 7): "cuMemAlloc_v2"}[domain, cbid]


TIMES = {"start": 150, "end": 180, "device_id": 0, "stream_id": 13}
KERNEL = SimpleNamespace(
    kind=10, name="_ZN2ns1kEi", grid_x=4, grid_y=2, grid_z=1, block_x=64, block_y=1, block_z=1,
    **TIMES,
)  # fmt: skip
COPY = SimpleNamespace(kind=1, copy_kind=1, bytes=512, **(TIMES | {"start": 120}))
FILL = SimpleNamespace(kind=2, bytes=32, **TIMES)
CALLS = (
    SimpleNamespace(kind=5, cbid=41, start=110, end=115, thread_id=3),
    SimpleNamespace(kind=4, cbid=7, start=105, end=109, thread_id=3),
)


@pytest.fixture(autouse=True)
def _another_process() -> Iterator[None]:
    """CUPTI is attached once in a process; each test here is one."""
    kernel_trace._collector.cache_clear()
    yield
    kernel_trace._collector.cache_clear()


def use(monkeypatch: pytest.MonkeyPatch, *records: SimpleNamespace) -> FakeCupti:
    cupti = FakeCupti(*records)
    monkeypatch.setattr(kernel_trace, "_load", lambda: cupti)
    return cupti


def test_records_become_values(monkeypatch: pytest.MonkeyPatch) -> None:
    cupti = use(monkeypatch, KERNEL, COPY, FILL, *CALLS)
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


def test_ranges_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their numbers; what has only one end in the trace is left out."""
    use(
        monkeypatch,
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


def test_calls_are_traced_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    cupti = use(monkeypatch, KERNEL)
    with kernel_trace.kernel_trace():
        assert cupti.enabled == {Kind.CONCURRENT_KERNEL, Kind.MEMCPY, Kind.MEMSET, Kind.MARKER}
    with kernel_trace.kernel_trace() as second:
        pass
    assert len(second.kernels) == 1
    assert cupti.registered == 1


def test_nothing_stays_switched_on_when_the_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    cupti = use(monkeypatch)
    with pytest.raises(ZeroDivisionError), kernel_trace.kernel_trace():
        _ = 1 / 0
    assert cupti.enabled == set()
    with kernel_trace.kernel_trace():
        pass


def test_one_trace_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
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
    monkeypatch: pytest.MonkeyPatch, record: SimpleNamespace, message: str
) -> None:
    use(monkeypatch, KERNEL, record)
    with pytest.raises(TraceError, match=message), kernel_trace.kernel_trace():
        pass


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_trace, "find_spec", lambda name: None)
    assert kernel_trace.missing() == "no cupti-python (pip install -e '.[gpu]')"
    cupti = use(monkeypatch)
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


def config_of(tmp_path: Path, device: str) -> Any:
    stash = pytest.Stash()
    stash[SETTINGS] = SimpleNamespace(device=device)
    record = SimpleNamespace(name=str(tmp_path / "stage5.json"))
    return SimpleNamespace(stash=stash, getoption=lambda name, default: record)


def test_a_traced_round_leaves_its_chrome_trace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(monkeypatch, KERNEL, COPY)
    done: list[str] = []
    path = traced_round.trace_round(
        config_of(tmp_path, "cuda"),
        "offline-test_kv_layout[slot/cold]",
        lambda: done.append("work"),
        prepare=lambda: done.append("prepare"),
    )
    assert done == ["prepare", "work"]
    assert path is not None
    assert [item.name for item in path.kernels] == ["k"]
    [file] = (tmp_path / "stage5-traces").iterdir()
    assert file.name == "offline-test_kv_layout_slot_cold.json"
    assert '"host to device"' in file.read_text()


@pytest.mark.parametrize("why", ["cpu", "never", "missing"])
def test_no_round_is_spent_where_nothing_can_be_traced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str
) -> None:
    cupti = use(monkeypatch, KERNEL)
    if why == "never":
        monkeypatch.setenv(launches.TRACE_VARIABLE, "never")
    if why == "missing":
        cupti.refused = Kind.CONCURRENT_KERNEL
    config = config_of(tmp_path, "cpu" if why == "cpu" else "cuda")
    path = traced_round.trace_round(config, "case", pytest.fail, prepare=pytest.fail)
    assert path is None
    assert (traced_round.UNTRACED in config.stash) == (why == "missing")
    assert list(tmp_path.iterdir()) == []
