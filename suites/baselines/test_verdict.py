"""The verdict of the gate: its symmetries, its order of refusals, and what it finds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stagegate_baselines.gate.conditions import Clock, Launch
from stagegate_baselines.gate.verdict import CLASS_FLOORS, Comparison, Judgement, Reason, judge
from stagegate_baselines.records import Better, Case, Metric, MetricClass
from stagegate_baselines.states import Verdict

MIRROR = {Verdict.REGRESSED: Verdict.IMPROVED, Verdict.IMPROVED: Verdict.REGRESSED}

# Launch medians within a factor of two of each other, as real ones are.
values = st.floats(50.0, 200.0)
sides = st.integers(2, 8).flatmap(
    lambda count: st.tuples(*[st.lists(values, min_size=count, max_size=count)] * 2)
)


def launches(
    medians: list[float], *, better: Better = Better.LOWER, floor: float = 0.0
) -> list[Launch]:
    return [
        Launch(
            "0" * 16,
            "processor",
            Case(
                name="case",
                suite="offline",
                params={},
                workload_hash="1" * 16,
                model_digest="2" * 16,
                metrics=(
                    Metric(
                        name="seconds",
                        unit="s",
                        better=better,
                        metric_class=MetricClass.THROUGHPUT,
                        floor=floor,
                        # The median of the rounds is the launch's value, whatever the outliers.
                        samples=(median, median * 0.9, median * 30, None),
                    ),
                ),
            ),
        )
        for median in medians
    ]


def verdict_of(
    base: list[float], new: list[float], *, paired: bool = True, better: Better = Better.LOWER
) -> Judgement:
    return judge(
        launches(base, better=better),
        launches(new, better=better),
        "seconds",
        comparison=Comparison.PAIRED if paired else Comparison.STORED,
    )


@settings(deadline=None)
@given(pair=sides, paired=st.booleans(), better=st.sampled_from(Better))
def test_swapping_the_sides_mirrors_the_verdict(
    pair: tuple[list[float], list[float]], paired: bool, better: Better
) -> None:
    there = verdict_of(*pair, paired=paired, better=better)
    back = verdict_of(*reversed(pair), paired=paired, better=better)
    assert back.verdict is MIRROR.get(there.verdict, there.verdict)
    assert there.effect is not None
    assert back.effect is not None
    assert math.log1p(back.effect) == pytest.approx(-math.log1p(there.effect), abs=1e-9)
    assert math.log1p(back.low or 0) == pytest.approx(-math.log1p(there.high or 0), abs=1e-9)


@settings(deadline=None)
@given(pair=sides, paired=st.booleans(), scale=st.sampled_from([0.125, 8.0, 1024.0]))
def test_the_unit_does_not_matter(
    pair: tuple[list[float], list[float]], paired: bool, scale: float
) -> None:
    plain = verdict_of(*pair, paired=paired)
    scaled = verdict_of(*([value * scale for value in side] for side in pair), paired=paired)
    assume(not _on_the_edge(plain))
    assert scaled.verdict is plain.verdict
    assert scaled.effect == pytest.approx(plain.effect, abs=1e-9)


@settings(deadline=None)
@given(pair=sides, paired=st.booleans())
def test_a_better_rate_is_a_lower_time(pair: tuple[list[float], list[float]], paired: bool) -> None:
    times = verdict_of(*pair, paired=paired)
    rates = verdict_of(
        *([1e4 / value for value in side] for side in pair), paired=paired, better=Better.HIGHER
    )
    assume(not _on_the_edge(times))
    assert rates.verdict is times.verdict


@settings(deadline=None)
@given(
    effect=st.floats(-0.3, 0.3),
    noise=st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=8),
    growth=st.floats(1.0, 10.0),
)
def test_more_noise_never_makes_a_doubt_a_regression(
    effect: float, noise: list[float], growth: float
) -> None:
    deviations = np.array(noise) - np.mean(noise)
    assume(np.std(deviations) > 1e-6)

    def at(scale: float) -> Judgement:
        new = [100.0 * math.exp(effect + scale * deviation) for deviation in deviations]
        return verdict_of([100.0] * len(noise), new)

    quiet, noisy = at(1.0), at(growth)
    if noisy.verdict is Verdict.REGRESSED and not _on_the_edge(noisy):
        assert quiet.verdict is Verdict.REGRESSED


@settings(deadline=None)
@given(pair=sides, paired=st.booleans())
def test_unchanged_is_shown_by_the_interval(
    pair: tuple[list[float], list[float]], paired: bool
) -> None:
    found = verdict_of(*pair, paired=paired)
    if found.verdict is Verdict.UNCHANGED:
        assert found.low is not None
        assert found.high is not None
        floor = math.log1p(CLASS_FLOORS[MetricClass.THROUGHPUT])
        assert -floor < math.log1p(found.low)
        assert math.log1p(found.high) < floor


def _on_the_edge(found: Judgement) -> bool:
    """So close to a bound of the rule that rounding decides."""
    assert found.effect is not None
    assert found.margin is not None
    margin, floor = math.log1p(found.margin), math.log1p(CLASS_FLOORS[MetricClass.THROUGHPUT])
    bounds = [0.0, margin, -margin, floor, -floor]
    points = [math.log1p(value) for value in (found.effect, found.low, found.high) if value]
    return any(abs(point - bound) < 1e-9 for point in points for bound in bounds)


@pytest.mark.parametrize(
    ("new", "verdict", "reason"),
    [
        ([110, 111, 109], Verdict.REGRESSED, Reason.WORSE_BEYOND_MARGIN),
        ([90, 91, 89], Verdict.IMPROVED, Reason.BETTER_BEYOND_MARGIN),
        ([100.1, 99.9, 100], Verdict.UNCHANGED, Reason.WITHIN_FLOOR),
        ([100, 118, 96], Verdict.INCONCLUSIVE, Reason.INTERVAL_TOO_WIDE),
        ([110], Verdict.INCONCLUSIVE, Reason.TOO_FEW_LAUNCHES),
        ([110, 0, 110], Verdict.INVALID, Reason.NOT_POSITIVE),
    ],
)
def test_the_four_answers(new: list[float], verdict: Verdict, reason: Reason) -> None:
    base = [100.0, 101.0, 99.0][: len(new)]
    found = verdict_of(base, new)
    assert (found.verdict, found.reason) == (verdict, reason)


def test_drift_cancels_in_pairs_but_not_between_times() -> None:
    base, new = [100.0, 110.0, 121.0], [108.0, 119.0, 130.5]
    assert verdict_of(base, new, paired=True).verdict is Verdict.REGRESSED
    assert verdict_of(base, new, paired=False).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.18, 0.5])
@pytest.mark.parametrize("effect", [1.061, 1.1, 1.22, 2.0])
def test_a_noisy_baseline_never_passes_a_change_as_unchanged(sigma: float, effect: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        base = 100 * np.exp(rng.normal(0, sigma, 5))
        new = 100 * effect * np.exp(rng.normal(0, sigma, 8))
        found = judge(
            launches(base.tolist()),
            launches(new.tolist()),
            "seconds",
            comparison=Comparison.STORED,
            sigma={Clock.WALL: sigma},
        )
        assert found.verdict is not Verdict.UNCHANGED


def disturbed(
    base: list[float], new: list[float], controls: tuple[list[float], list[float]]
) -> Judgement:
    before, after = [
        [
            replace(launch, case=launch.case.model_copy(update={"control": (control,)}))
            for launch, control in zip(launches(medians), seconds, strict=True)
        ]
        for medians, seconds in zip((base, new), controls, strict=True)
    ]
    return judge(before, after, "seconds", comparison=Comparison.PAIRED)


def test_a_disturbed_host_is_told_from_a_change() -> None:
    # A neighbour slows some launches of either side; the new side takes 10 % longer.
    host = [1.0, 1.5, 1.0, 1.2, 1.4, 1.0, 1.3, 1.0], [1.3, 1.0, 1.0, 1.5, 1.0, 1.2, 1.0, 1.1]
    wiggle = [1.001, 0.999, 1.0, 1.002, 0.998, 1.0, 1.001, 0.999]
    base = [100 * seconds * extra for seconds, extra in zip(host[0], wiggle, strict=True)]
    new = [110 * seconds for seconds in host[1]]
    assert verdict_of(base, new).verdict is Verdict.INCONCLUSIVE
    found = disturbed(base, new, host)
    assert found.verdict is Verdict.REGRESSED
    assert found.effect == pytest.approx(0.10, abs=0.005)
    assert found.basis.slope == pytest.approx(1.0, abs=0.02)


def test_a_disturbed_host_needs_enough_launches_to_say_anything() -> None:
    host = [1.0, 1.5, 1.0], [1.3, 1.0, 1.0]
    even = [100.0, 100.0, 100.0]
    found = disturbed(even, even, host)
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, Reason.HOST_DISTURBED)
    assert found.control_sigma == pytest.approx(0.18, abs=0.02)


def test_a_quiet_control_changes_nothing() -> None:
    host = [1.0, 1.01, 0.99], [1.01, 1.0, 1.0]
    base, new = [100.0, 101.0, 99.0], [110.0, 111.0, 109.0]
    assert disturbed(base, new, host).effect == verdict_of(base, new).effect


def test_a_change_below_the_absolute_floor_does_not_count() -> None:
    base, new = ([value / 1e6 for value in side] for side in ([10, 10.1, 9.9], [12, 12.1, 11.9]))
    assert (
        judge(launches(base), launches(new), "seconds", comparison=Comparison.PAIRED).verdict
        is Verdict.REGRESSED
    )
    small = judge(
        launches(base, floor=3e-6),
        launches(new, floor=3e-6),
        "seconds",
        comparison=Comparison.PAIRED,
    )
    assert (small.verdict, small.reason) == (Verdict.UNCHANGED, Reason.BELOW_ABSOLUTE_FLOOR)


def test_wrong_tokens_are_invalid_however_fast() -> None:
    base, new = launches([100, 101, 99]), launches([10, 10, 10])
    broken = replace(new[1], case=new[1].case.model_copy(update={"invalid": ("wrong tokens",)}))
    found = judge(base, [new[0], broken, new[2]], "seconds", comparison=Comparison.PAIRED)
    assert (found.verdict, found.detail) == (Verdict.INVALID, "new: wrong tokens")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"workload_hash": "f" * 16}, Reason.OTHER_WORK),
        ({"model_digest": None}, Reason.OTHER_WORK),
    ],
)
def test_other_work_is_not_compared(change: dict[str, object], reason: Reason) -> None:
    base, new = launches([100, 101, 99]), launches([200, 201, 199])
    other = [replace(launch, case=launch.case.model_copy(update=change)) for launch in new]
    found = judge(base, other, "seconds", comparison=Comparison.PAIRED)
    assert (found.verdict, found.reason) == (Verdict.NOT_COMPARABLE, reason)


def test_another_machine_is_never_red() -> None:
    base, new = launches([100, 101, 99]), launches([200, 201, 199])
    elsewhere = [replace(launch, machine_key="a" * 16) for launch in new]
    found = judge(base, elsewhere, "seconds", comparison=Comparison.STORED)
    assert (found.verdict, found.reason) == (Verdict.NOT_COMPARABLE, Reason.OTHER_MACHINE)


def test_another_machine_of_the_kind_gives_advice() -> None:
    base, new = launches([100, 101, 99]), launches([200, 201, 199])
    sibling = [replace(launch, machine_key="a" * 16) for launch in new]
    found = judge(base, sibling, "seconds", comparison=Comparison.ADVISORY)
    assert found.verdict is Verdict.REGRESSED
    stranger = [replace(launch, machine_kind="another") for launch in sibling]
    found = judge(base, stranger, "seconds", comparison=Comparison.ADVISORY)
    assert (found.verdict, found.reason) == (Verdict.NOT_COMPARABLE, Reason.OTHER_MACHINE)


def test_a_new_case_or_metric_has_no_baseline() -> None:
    new = launches([100, 101])
    found = judge([], new, "seconds", comparison=Comparison.STORED)
    assert (found.verdict, found.reason) == (Verdict.NO_BASELINE, Reason.NEW_CASE)
    bare = [replace(launch, case=launch.case.model_copy(update={"metrics": ()})) for launch in new]
    found = judge(bare, new, "seconds", comparison=Comparison.PAIRED)
    assert (found.verdict, found.reason) == (Verdict.NO_BASELINE, Reason.NEW_CASE)


def test_a_metric_that_some_launches_lack_is_invalid() -> None:
    base, new = launches([1, 2]), launches([1, 2])
    bare = replace(new[1], case=new[1].case.model_copy(update={"metrics": ()}))
    found = judge(base, [new[0], bare], "seconds", comparison=Comparison.PAIRED)
    assert (found.verdict, found.reason) == (Verdict.INVALID, Reason.INCOMPLETE)
    found = judge(base, new[:1], "seconds", comparison=Comparison.PAIRED)
    assert (found.verdict, found.reason) == (Verdict.INVALID, Reason.INCOMPLETE)


def test_what_is_recorded_for_information_is_not_judged() -> None:
    [launch, _] = launches([1, 2])
    [metric] = launch.case.metrics
    quiet = metric.model_copy(update={"metric_class": MetricClass.INFO})
    other = replace(launch, case=launch.case.model_copy(update={"metrics": (quiet,)}))
    with pytest.raises(ValueError, match="recorded for information"):
        judge([other] * 3, [other] * 3, "seconds", comparison=Comparison.PAIRED)
