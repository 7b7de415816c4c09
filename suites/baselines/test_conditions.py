"""By which clock launches are judged, and what says that the host or the GPU was busy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stagegate_baselines.gate.conditions import Beside, Clock, Launch
from stagegate_baselines.gate.verdict import Comparison, Judgement, Reason, judge
from stagegate_baselines.states import Verdict
from suites.baselines.sample_record import Host, sample_record

# A busy neighbour: seconds that each launch queued for a processor, in pairs.
QUEUED = [(0.0, 0.8), (0.5, 0.0), (0.1, 0.9), (0.7, 0.2), (0.3, 0.6)]
WOBBLE = [1.0, 1.004, 0.997, 1.002, 0.999]
CONTROLS = [(0.010, 0.013), (0.015, 0.010), (0.011, 0.010), (0.010, 0.014), (0.012, 0.011)]


def judged(
    slower: float = 1.0,
    *,
    new_host: Host | None = None,
    host: Host | None = None,
    device: str = "cpu",
) -> Judgement:
    """A rate by time on the wall, which falls by what a launch queued."""
    host = host or Host()
    sides: tuple[list[Launch], list[Launch]] = ([], [])
    for queued, wobble, controls in zip(QUEUED, WOBBLE, CONTROLS, strict=True):
        for index, side in enumerate(sides):
            met = new_host if index and new_host is not None else host
            met = replace(met, queued=None if met.queued is None else queued[index])
            took = (1 + queued[index] + met.asleep) * wobble * (slower if index else 1.0)
            record = sample_record(rate=1000 / took, control=controls[index], host=met)
            side.append(Launch("m", "k", record.cases[0], device))
    return judge(sides[0], sides[1], "tokens_per_sec", comparison=Comparison.PAIRED)


def test_on_a_busy_host_cpu_time_says_what_the_wall_cannot() -> None:
    same = judged()
    assert (same.verdict, same.basis.clock) == (Verdict.UNCHANGED, Clock.CPU)
    assert same.base_median == pytest.approx(1000, rel=0.01)
    slower = judged(1.05)
    assert (slower.verdict, slower.basis.clock) == (Verdict.REGRESSED, Clock.CPU)
    assert slower.effect == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize(
    "host",
    [
        Host(asleep=0.5),
        Host(children=0.1),
        Host(queued=None),
        Host(cpu=1.8),  # several threads, whose CPU time may be spent waiting for each other
    ],
    ids=["it waits", "another process works for it", "queueing is not known", "several threads"],
)
def test_what_is_not_one_busy_thread_is_judged_by_the_wall(host: Host) -> None:
    found = judged(host=host)
    assert found.basis.clock is Clock.WALL
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, Reason.HOST_DISTURBED)


def test_a_wait_that_one_side_adds_is_not_hidden() -> None:
    assert judged(new_host=Host(asleep=0.05)).basis.clock is Clock.WALL
    assert judged(host=Host(asleep=0.05)).basis.clock is Clock.CPU


def test_what_a_gpu_does_is_judged_by_the_wall() -> None:
    assert judged(device="cuda").basis.clock is Clock.WALL


def with_the_same_control(queued: list[tuple[float, float]]) -> Judgement:
    sides: tuple[list[Launch], list[Launch]] = ([], [])
    for pair, wobble in zip(queued, WOBBLE, strict=True):
        for side, seconds in zip(sides, pair, strict=True):
            rate = 1000 / (1 + seconds) / wobble
            record = sample_record(rate=rate, control=0.01, host=Host(seconds))
            side.append(Launch("m", "k", record.cases[0], "cpu"))
    return judge(sides[0], sides[1], "tokens_per_sec", comparison=Comparison.PAIRED)


def test_a_quiet_host_is_judged_by_the_wall() -> None:
    found = with_the_same_control([(0.0, 0.001)] * 5)
    assert (found.verdict, found.basis.clock) == (Verdict.UNCHANGED, Clock.WALL)


def test_queueing_alone_says_that_the_host_is_busy() -> None:
    """The control may have met nobody."""
    found = with_the_same_control(QUEUED)
    assert (found.verdict, found.basis.clock) == (Verdict.UNCHANGED, Clock.CPU)


def test_shared_caches_are_taken_out_by_the_cpu_time_of_the_control() -> None:
    """They slow what has a processor, too, as hyper-threading does."""
    shared = [(1.0, 1.2), (1.15, 1.0), (1.05, 1.25), (1.1, 1.0), (1.0, 1.1)]
    sides: tuple[list[Launch], list[Launch]] = ([], [])
    for queued, slow, wobble in zip(QUEUED, shared, WOBBLE, strict=True):
        for index, side in enumerate(sides):
            host = Host(queued=queued[index], control_cpu=0.01 * slow[index])
            took = (1 + queued[index]) * slow[index] * wobble
            record = sample_record(rate=1000 / took, control=0.01 * (1 + queued[index]), host=host)
            side.append(Launch("m", "k", record.cases[0], "cpu"))
    found = judge(sides[0], sides[1], "tokens_per_sec", comparison=Comparison.PAIRED)
    assert (found.basis.clock, found.basis.control) == (Clock.CPU, Beside.HOST_CPU)
    assert found.basis.slope == pytest.approx(1.0, abs=0.1)
    assert found.verdict is Verdict.UNCHANGED


def on_a_gpu(follows: float) -> Judgement:
    """The GPU is busy with something else, which its control sees and the host's does not.

    follows: how much of it the work follows.
    """
    before, after = [
        [
            Launch(
                "m",
                "k",
                sample_record(
                    rate=1000 / (control[side] / 0.01) ** follows / wobble,
                    control=0.01,
                    device_control=control[side] / 50,
                ).cases[0],
                "cuda",
            )
            for control, wobble in zip(CONTROLS, WOBBLE, strict=True)
        ]
        for side in (0, 1)
    ]
    return judge(before, after, "tokens_per_sec", comparison=Comparison.PAIRED)


def test_a_busy_gpu_is_taken_out_by_its_control() -> None:
    found = on_a_gpu(follows=1.0)
    assert (found.verdict, found.basis.control) == (Verdict.UNCHANGED, Beside.DEVICE)
    assert found.device_control_sigma == pytest.approx(0.15, abs=0.03)
    assert found.control_sigma == pytest.approx(0.0, abs=1e-9)


def test_what_the_control_of_the_gpu_does_not_explain_is_its_reason() -> None:
    before, after = [
        [
            Launch("m", "k", sample_record(rate=rate, device_control=control).cases[0], "cuda")
            for rate, control in zip(rates, controls, strict=True)
        ]
        for rates, controls in (
            ([100, 140, 90, 120, 100], [1e-4, 1.1e-4, 1.2e-4, 1e-4, 1.3e-4]),
            ([120, 100, 130, 95, 140], [1.2e-4, 1e-4, 1e-4, 1.1e-4, 1e-4]),
        )
    ]
    noisy = judge(before, after, "tokens_per_sec", comparison=Comparison.PAIRED)
    assert (noisy.verdict, noisy.reason) == (Verdict.INCONCLUSIVE, Reason.DEVICE_DISTURBED)
