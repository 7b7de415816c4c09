"""Short calls are timed in batches, on a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stagegate_harness import calls
from stagegate_harness.calls import BATCH_SECONDS, CallTimer

CALL_SECONDS = 10e-6
WAIT_SECONDS = 20e-6


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(
        calls,
        "time",
        SimpleNamespace(perf_counter=lambda: clock.now, process_time=lambda: clock.now / 2),
    )
    return clock


@pytest.mark.parametrize("first_seconds", [CALL_SECONDS, 3 * BATCH_SECONDS])
def test_a_wait_is_small_beside_its_batch(clock: SimpleNamespace, first_seconds: float) -> None:
    costs = iter([first_seconds])

    def call() -> None:
        clock.now += next(costs, CALL_SECONDS)

    def wait() -> None:
        clock.now += WAIT_SECONDS

    seconds = CallTimer(call, wait).seconds_per_call()
    assert CALL_SECONDS < seconds.wall < 1.01 * CALL_SECONDS
    assert seconds.cpu == pytest.approx(seconds.wall / 2)
