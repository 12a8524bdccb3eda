"""Scales and outlines: invariants for any numbers, and cases by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.evaluation.pages.charts import Scale, bars_path, polyline, scale, scale_within

VALUES = st.lists(st.floats(-1000, 1000).filter(lambda value: value == 0 or abs(value) > 1e-3), min_size=1)


@given(VALUES)
def test_an_axis_covers_its_values_between_its_outer_ticks(values):
    axis = scale(values)
    assert axis.low - 1e-6 <= min(values) <= max(values) <= axis.high + 1e-6
    assert (axis.ticks[0], axis.ticks[-1]) == (axis.low, axis.high)
    assert 2 <= len(axis.ticks) <= 8
    assert list(axis.ticks) == sorted(set(axis.ticks))


@given(st.floats(-1, 0.9), st.floats(0.001, 1))
def test_ticks_of_a_given_range_stay_within_it(low, width):
    axis = scale_within(low, low + width)
    assert (axis.low, axis.high) == (low, low + width)
    assert all(low - 1e-9 <= tick <= low + width + 1e-9 for tick in axis.ticks)
    assert 2 <= len(axis.ticks) <= 7


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.18, 0.295], (0.15, 0.2, 0.25, 0.3)),
        ([0.0, -0.012, 0.031], (-0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.04)),
        ([0.5], (0.44, 0.46, 0.48, 0.5, 0.52, 0.54, 0.56)),
    ],
)
def test_ticks_are_round(values, ticks):
    assert scale(values).ticks == ticks


def test_places_by_hand():
    axis = Scale(-1.0, 3.0, ())
    assert [axis.percent(value) for value in (-1, 0, 3)] == [0.0, 25.0, 100.0]
    assert polyline([(0, 0), (5, 2)], Scale(0, 10, ()), Scale(0, 4, ())) == "0,100 50,50"
    assert bars_path((1, 4, 0)) == "M0 100V75.00H1V0.00H2V100.00H3V100Z"
