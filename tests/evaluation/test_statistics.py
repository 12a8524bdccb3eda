from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.statistics import auc, paired_auc, paired_difference, wilson

Z = 1.959963984540054


@given(st.integers(1, 10**6), st.data())
def test_wilson_is_its_formula(samples, data):
    proportion = data.draw(st.integers(0, samples)) / samples
    middle = (proportion + Z**2 / (2 * samples)) / (1 + Z**2 / samples)
    spread = Z / (1 + Z**2 / samples)
    spread *= math.sqrt(proportion * (1 - proportion) / samples + Z**2 / (4 * samples**2))
    low, high = wilson(proportion, samples)
    assert 0 <= low <= proportion <= high <= 1
    assert low == pytest.approx(middle - spread, abs=1e-9)
    assert high == pytest.approx(middle + spread, abs=1e-9)


def test_a_model_minus_itself_is_nothing():
    hits = np.random.default_rng(0).random(200) < 0.3
    estimate = paired_difference(hits, hits)
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_paired_difference_is_close_to_the_normal_interval():
    generator = np.random.default_rng(0)
    first = generator.random(2_000) < 0.6
    second = np.where(generator.random(2_000) < 0.9, first, generator.random(2_000) < 0.3)
    difference = first.astype(float) - second
    estimate = paired_difference(first, second)
    error = Z * difference.std() / math.sqrt(len(difference))
    assert estimate.value == pytest.approx(difference.mean())
    assert estimate.low == pytest.approx(difference.mean() - error, abs=0.1 * error)
    assert estimate.high == pytest.approx(difference.mean() + error, abs=0.1 * error)
    assert estimate == paired_difference(first, second)
    with pytest.raises(ValueError, match="got 2000 and 1999"):
        paired_difference(first, second[1:])


scores = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(scores, scores)
def test_auc_is_the_share_of_ordered_pairs(positive, negative):
    wins = sum((p > n) + (p == n) / 2 for p in positive for n in negative)
    assert auc(np.array(positive), np.array(negative)) == pytest.approx(wins / len(positive) / len(negative))


def test_copies_of_a_pair_in_one_group_add_no_certainty():
    generator = np.random.default_rng(0)
    positive, negative = generator.normal(1, 1, 60), generator.normal(0, 1, 60)
    once = paired_auc(positive, negative)
    groups = [f"{row:02d}" for row in range(60)] * 5
    grouped = paired_auc(np.tile(positive, 5), np.tile(negative, 5), groups)
    assert [grouped.value, grouped.low, grouped.high] == pytest.approx([once.value, once.low, once.high])
    ungrouped = paired_auc(np.tile(positive, 5), np.tile(negative, 5))
    assert ungrouped.high - ungrouped.low < 0.6 * (once.high - once.low)


def test_one_group_leaves_the_auc_unknown():
    estimate = paired_auc(np.array([1.0, 2.0]), np.array([0.0, 0.0]), ["a", "a"])
    assert (estimate.value, estimate.low, estimate.high) == (1, 0, 1)
