"""A stand-in for cupti-python, and records as CUPTI hands them over."""

from __future__ import annotations

import enum
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


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

    def activity_register_callbacks(
        self, request: Callable[..., Any], completed: Callable[..., Any]
    ) -> None:
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
