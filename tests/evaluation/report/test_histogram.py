"""Counts at every place of the threshold against a plain comparison of all similarities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.evaluation.report.cuts import SubsetCut
from clipsieve.evaluation.report.histogram import SimilarityHistogram, Stop, count_fine, for_drawing, occupied, stops

SIMILARITIES = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60).map(
    lambda values: np.array(values, np.float32).astype(np.float64)
)


@given(SIMILARITIES, st.sampled_from([1, 2, 7, 512]))
def test_counts_at_every_border_are_exact(similarity, most_bins):
    histogram = occupied(count_fine(similarity), most_bins)
    assert len(histogram.counts) <= most_bins + 1
    for stop in stops(histogram, []):
        below_one = np.minimum(similarity, np.nextafter(1, 0))  # 1 itself is counted in the last bin
        assert stop.kept == (below_one >= stop.similarity).sum()


@given(SIMILARITIES)
def test_the_first_stop_keeps_all_and_the_last_none(similarity):
    places = stops(occupied(count_fine(similarity)), [])
    assert (places[0].kept, places[-1].kept) == (len(similarity), 0)


@given(SIMILARITIES, st.data())
def test_cuts_stand_among_the_borders_and_counts_never_rise(similarity, data):
    ranked = np.sort(similarity)[::-1]
    sizes = data.draw(st.lists(st.integers(1, len(ranked)), max_size=4, unique=True))
    cuts = [SubsetCut(f"top{k}", k, k, float(ranked[k - 1]), "f" * 32) for k in sizes]
    places = stops(occupied(count_fine(similarity)), cuts)
    assert {stop.cut: stop.kept for stop in places if stop.cut} == {f"top{k}": k for k in sizes}
    kept, at = [stop.kept for stop in places], [stop.similarity for stop in places]
    assert at == sorted(at)
    assert kept == sorted(kept, reverse=True)


@given(SIMILARITIES)
def test_bars_hold_every_pair_over_the_same_range(similarity):
    counted = occupied(count_fine(similarity))
    drawn = for_drawing(counted)
    assert sum(drawn.counts) == len(similarity)
    assert (drawn.low, drawn.high >= counted.high) == (counted.low, True)
    assert drawn.width / counted.width == 2 ** round(np.log2(drawn.width / counted.width))


def test_by_hand():
    histogram = SimilarityHistogram(0.25, 0.25, (1, 0, 2))
    assert histogram.merged(2) == SimilarityHistogram(0.25, 0.5, (1, 2))
    cut = SubsetCut("top40", 40, 1, 0.875, "0" * 32)
    assert stops(histogram, [cut]) == (
        Stop(0.25, 3),
        Stop(0.5, 2),
        Stop(0.75, 2),
        Stop(0.875, 1, "top40"),
        Stop(1.0, 0),
    )


@pytest.mark.parametrize("value", [-1e-12, -1.0000001, 1.0000001])
def test_values_at_the_edges_of_bins_are_counted_once(value):
    assert count_fine(np.array([value])).sum() == 1


def test_a_tiny_negative_similarity_is_below_zero():
    assert count_fine(np.array([-1e-20])).argmax() == 4095
