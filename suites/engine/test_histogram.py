"""Histograms of the engine."""

from __future__ import annotations

import pytest

from stagegate.core.histogram import Histogram, HistogramReading


def test_a_value_belongs_to_the_first_bound_it_does_not_exceed() -> None:
    histogram = Histogram([1, 2, 5])
    for value in (0, 1, 1.5, 2, 5, 5.1, 100):
        histogram.observe(value)
    read = histogram.read()
    assert read == HistogramReading((1, 2, 5), (2, 2, 1, 2), read.total)
    assert read.total == pytest.approx(114.6)


def test_a_value_counts_as_often_as_it_came() -> None:
    histogram = Histogram([1])
    histogram.observe(0.5, 3)
    histogram.observe(2, 2)
    assert histogram.read() == HistogramReading((1,), (3, 2), 5.5)


def test_a_reading_does_not_change() -> None:
    histogram = Histogram([1])
    before = histogram.read()
    histogram.observe(0.5)
    assert before.counts == (0, 0)
