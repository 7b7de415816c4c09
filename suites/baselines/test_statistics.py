"""Intervals and p values against their definitions and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from baselines.gate.statistics import adjusted, paired, unpaired
from baselines.records import Better


def test_paired_is_the_t_interval_of_the_log_ratios() -> None:
    base, new = [100.0, 102.0, 97.0, 99.0], [104.0, 107.0, 100.0, 105.0]
    estimate = paired(base, new, Better.LOWER)
    reference = stats.ttest_rel(np.log(new), np.log(base)).confidence_interval(0.90)
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high))


def test_unpaired_is_welch() -> None:
    base, new = [100.0, 102.0, 97.0, 99.0, 101.0], [104.0, 109.0, 100.0]
    estimate = unpaired(base, new, Better.LOWER)
    reference = stats.ttest_ind(np.log(new), np.log(base), equal_var=False)
    interval = reference.confidence_interval(0.90)
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
def test_ninety_percent_of_the_intervals_hold_the_truth(compare: object, count: int) -> None:
    rng = np.random.default_rng(0)
    truth, runs = np.log(1.05), 2000
    hits = 0
    for _ in range(runs):
        base = np.exp(rng.normal(0.0, 0.01, count))
        new = np.exp(rng.normal(truth, 0.01, count))
        estimate = compare(base.tolist(), new.tolist(), Better.LOWER)  # type: ignore[operator]
        hits += estimate.low <= truth <= estimate.high
    # Five standard deviations of a binomial; Welch with few launches is a little wide.
    slack = 5 * np.sqrt(0.9 * 0.1 / runs)
    assert 0.9 - slack < hits / runs < 0.9 + slack + 0.02


def test_adjusted_is_benjamini_hochberg() -> None:
    assert adjusted([]) == []
    assert adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
