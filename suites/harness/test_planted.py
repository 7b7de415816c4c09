"""A slowdown that is ordered is the one that is measured, and only where it is ordered."""

from __future__ import annotations

import threading
import time

import pytest

from stagegate_harness.planted import clock_of, planted_share, slowed


@pytest.mark.parametrize(
    ("plan", "case", "share"),
    [
        ("", "test_linear[8]", 0.0),
        ("test_linear=5", "test_linear[8]", 0.05),
        ("test_linear=5", "test_swiglu[8]", 0.0),
        ("test_linear[1]=5,kv_layout[block=10", "test_kv_layout[block-cold]", 0.10),
        ("test_linear[1]=5,kv_layout[block=10", "test_linear[8]", 0.0),
    ],
)
def test_only_the_named_cases(plan: str, case: str, share: float) -> None:
    assert planted_share(plan, case) == pytest.approx(share)


@pytest.mark.parametrize("plan", ["test_linear", "=5", "test_linear=fast", "test_linear=-5"])
def test_a_plan_that_cannot_be_read_is_refused(plan: str) -> None:
    with pytest.raises(pytest.UsageError, match="is not TEXT=PERCENT"):
        planted_share(plan, "test_linear[8]")


def test_a_call_takes_that_much_longer_and_gives_the_same() -> None:
    def work(value: int) -> int:
        until = time.perf_counter() + 0.01
        while time.perf_counter() < until:
            pass
        return value

    began = time.perf_counter()
    assert slowed(work, 0.5)(3) == 3
    assert time.perf_counter() - began >= 0.015


def test_work_on_the_cpu_is_not_slowed_for_longer_where_others_hold_it_up() -> None:
    clock = clock_of("cpu")

    def held_up() -> None:
        until = clock() + 0.02
        while clock() < until:
            pass
        time.sleep(0.2)  # as a neighbour on its processor would

    began = clock()
    slowed(held_up, 0.5, clock)()
    assert 0.03 <= clock() - began < 0.05
    assert clock_of("cuda") is time.perf_counter


def test_other_threads_run_meanwhile() -> None:
    """A server's threads would else stand still for what only its engine is to take longer."""
    counted = 0
    stop = threading.Event()

    def count() -> None:
        nonlocal counted
        while not stop.is_set():
            counted += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        slowed(lambda: time.sleep(0.05), 4)()
    finally:
        stop.set()
        thread.join()
    # A thread that spins gives the interpreter away every 5 ms only: some 40 times in 200 ms.
    assert counted > 60
