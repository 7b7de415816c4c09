"""Intervals and p values against their definitions and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stagegate_baselines.gate.statistics import Control, Estimate, adjusted, paired, unpaired
from stagegate_baselines.records import Better


def test_paired_is_the_t_interval_of_the_log_ratios() -> None:
    base, new = [100.0, 102.0, 97.0, 99.0], [104.0, 107.0, 100.0, 105.0]
    estimate = paired(base, new, Better.LOWER)
    assert estimate is not None
    reference = stats.ttest_rel(np.log(new), np.log(base)).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high))


def test_unpaired_is_welch() -> None:
    base, new = [100.0, 102.0, 97.0, 99.0, 101.0], [104.0, 109.0, 100.0]
    estimate = unpaired(base, new, Better.LOWER)
    assert estimate is not None
    reference = stats.ttest_ind(np.log(new), np.log(base), equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("compare", [paired, unpaired])
def test_launches_without_spread_give_a_point(compare: object) -> None:
    estimate = compare([100.0] * 3, [110.0] * 3, Better.LOWER)  # type: ignore[operator]
    assert estimate.low == estimate.effect == estimate.high == pytest.approx(np.log(1.1))
    assert (estimate.sigma, estimate.p) == (0.0, 0.0)


@pytest.mark.parametrize("compare", [paired, unpaired])
@pytest.mark.parametrize("side", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_numbers_without_a_ratio_are_refused(compare: object, side: list[float]) -> None:
    with pytest.raises(ValueError, match=r"an interval needs|ratios need"):
        compare([1.0] * len(side), side, Better.LOWER)  # type: ignore[operator]


def test_unequal_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="3 launches of the base cannot be paired with 2"):
        paired([1.0, 2.0, 3.0], [1.0, 2.0], Better.LOWER)


@pytest.mark.parametrize(("compare", "count"), [(paired, 3), (paired, 8), (unpaired, 5)])
@pytest.mark.parametrize("disturbed", [False, True])
def test_ninety_five_percent_of_the_intervals_hold_the_truth(
    compare: object, count: int, disturbed: bool
) -> None:
    if disturbed and count < 5:
        pytest.skip("too few launches to learn what the control explains")
    rng = np.random.default_rng(0)
    truth, runs = np.log(1.05), 2000
    hits = 0
    for _ in range(runs):
        host = rng.normal(0.0, 0.2, (2, count)) if disturbed else np.zeros((2, count))
        times = np.exp([[0.0], [truth]] + rng.normal(0.0, 0.01, (2, count)) + 0.8 * host)
        control = Control(*np.exp(host).tolist()) if disturbed else None
        estimate = compare(*times.tolist(), Better.LOWER, control=control)  # type: ignore[operator]
        hits += estimate.low <= truth <= estimate.high
    # Five standard deviations of a binomial; Welch with few launches is a little wide.
    slack = 5 * np.sqrt(0.95 * 0.05 / runs)
    assert 0.95 - slack < hits / runs < 0.95 + slack + 0.02


@pytest.mark.parametrize("compare", [paired, unpaired])
@pytest.mark.parametrize("better", Better)
def test_what_the_control_explains_is_taken_out(compare: object, better: Better) -> None:
    host = np.array([[0.0, 0.3, 0.1, 0.5, 0.2], [0.4, 0.0, 0.2, 0.1, 0.6]])
    # The work follows half of what the host loses; the new side takes 5 % longer.
    times = np.exp(0.5 * host + [[0.0], [np.log(1.05)]])
    values = times if better is Better.LOWER else 1 / times
    estimate = compare(  # type: ignore[operator]
        *values.tolist(), better, control=Control(*np.exp(host).tolist())
    )
    assert isinstance(estimate, Estimate)
    assert (estimate.effect, estimate.slope) == pytest.approx((np.log(1.05), 0.5))


@pytest.mark.parametrize("compare", [paired, unpaired])
@pytest.mark.parametrize(
    ("base", "new"), [([1.0] * 4, [1.1, 1.2, 1.0, 1.3]), ([1.0] * 5, [1.3] * 5)]
)
def test_a_control_that_cannot_be_told_from_the_change_gives_no_estimate(
    compare: object, base: list[float], new: list[float]
) -> None:
    values = np.linspace(100.0, 101.0, len(base)).tolist()
    control = Control(base, new)
    assert compare(values, values, Better.LOWER, control=control) is None  # type: ignore[operator]


def test_a_known_slope_needs_no_more_launches_than_two() -> None:
    control = Control([1.0, 1.0], [2.0, 2.0], slope=1.0)
    estimate = paired([100.0, 100.0], [210.0, 220.0], Better.LOWER, control=control)
    assert estimate is not None
    assert estimate.effect == pytest.approx(np.log(1.05 * 1.10) / 2)


def test_a_known_spread_widens_an_interval_of_launches_that_agree_by_chance() -> None:
    base, new = [100.0, 100.1, 99.9, 100.0, 100.0], [100.0, 100.1, 99.9]
    narrow = unpaired(base, new, Better.LOWER)
    wide = unpaired(base, new, Better.LOWER, sigma=0.1)
    assert narrow is not None
    assert wide is not None
    assert narrow.high < 0.01
    assert wide.high == pytest.approx(wide.effect + 1.96 * 0.1 * np.sqrt(1 / 5 + 1 / 3), abs=1e-4)


def test_adjusted_is_benjamini_hochberg() -> None:
    assert adjusted([]) == []
    assert adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
