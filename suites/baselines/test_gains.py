"""How many times better one engine is than another, with an interval of their pairs."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from stagegate_baselines.gains import gain_of
from stagegate_baselines.records import Better


def test_what_pairs_share_does_not_widen_the_interval() -> None:
    gain = gain_of([110, 220, 55], [100, 200, 50], Better.HIGHER)
    assert gain is not None
    assert gain.ratio == pytest.approx(1.1)
    assert gain.interval == pytest.approx((1.1, 1.1))


@pytest.mark.parametrize("better", Better)
def test_the_interval_is_students(better: Better) -> None:
    ours, theirs = [100.0, 108.0, 104.0, 99.0], [90.0, 91.0, 95.0, 92.0]
    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    if better is Better.LOWER:
        logs = [-log for log in logs]
    low, high = stats.t.interval(0.95, 3, loc=sum(logs) / 4, scale=stats.sem(logs))
    gain = gain_of(ours, theirs, better)
    assert gain is not None
    assert gain.ratio == pytest.approx(math.exp(sum(logs) / 4))
    assert gain.interval == pytest.approx((math.exp(low), math.exp(high)))


def test_one_round_has_no_interval() -> None:
    gain = gain_of([50.0, None], [100.0, 100.0], Better.LOWER)
    assert gain is not None
    assert (gain.ratio, gain.interval) == (2.0, None)


def test_nothing_in_common_is_none() -> None:
    assert gain_of([None, 1.0], [1.0, None], Better.HIGHER) is None
    assert gain_of([], [], Better.HIGHER) is None
