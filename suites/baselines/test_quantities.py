"""Values and changes in words."""

from __future__ import annotations

import pytest

from stagegate_baselines.quantities import (
    change,
    interval,
    natural,
    number,
    percent,
    share,
    transition,
)
from stagegate_baselines.records import Better


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (None, "ms", "-"),
        (0.0, "1", "0"),
        (12.0, "tok/s", "12 tok/s"),
        (0.0123456, "s", "0.01235 s"),
        (999.96, "ms", "1,000 ms"),
        (12345.6, "1", "12,346"),
        (-2.5, "1", "-2.5"),
        (3 * 2.0**20, "bytes", "3.0 MiB"),
    ],
)
def test_numbers(value: float | None, unit: str, expected: str) -> None:
    assert number(value, unit) == expected


@pytest.mark.parametrize(
    ("old", "new", "unit", "expected"),
    [
        (128.0, 158.0, "us", "128 -> 158 us"),
        (2.0**20, 3 * 2.0**20, "bytes", "1.0 -> 3.0 MiB"),
        (0.5, 2.0, "1", "0.5 -> 2"),
        (None, 2.0, "s", "-"),
        (2.0, None, "s", "-"),
    ],
)
def test_from_old_to_new(old: float | None, new: float | None, unit: str, expected: str) -> None:
    assert transition(old, new, unit) == expected


@pytest.mark.parametrize(
    ("value", "better", "expected"),
    [
        (-0.5, Better.HIGHER, "-50.0 %, worse"),
        (0.5, Better.HIGHER, "+50.0 %, better"),
        (0.234, Better.LOWER, "+23.4 %, worse"),
        (-0.1, Better.LOWER, "-10.0 %, better"),
        (0.00001, Better.LOWER, "0.0 %"),
        (-0.0, Better.HIGHER, "0.0 %"),
        (0.1, None, "+10.0 %"),
        (None, Better.LOWER, "-"),
    ],
)
def test_a_change_says_what_it_means(
    value: float | None, better: Better | None, expected: str
) -> None:
    assert change(value, better) == expected


def test_shares_and_intervals() -> None:
    assert (percent(-0.05), percent(0.05), percent(0.0)) == ("-5.0 %", "+5.0 %", "0.0 %")
    assert (share(0.05), share(None)) == ("5.0 %", "-")
    assert (interval((-0.012, 0.034)), interval(None)) == ("-1.2 % to +3.4 %", "-")


@pytest.mark.parametrize("better", Better)
def test_an_effect_is_positive_where_a_metric_gets_worse(better: Better) -> None:
    twice, half = 1.0, -0.5
    worse = twice if better is Better.LOWER else half
    assert natural(1.0, better) == pytest.approx(worse)
    for effect in (-0.9, -0.5, 0.0, 0.03, 1.0, 20.0):
        assert natural(natural(effect, better), better) == pytest.approx(effect)
