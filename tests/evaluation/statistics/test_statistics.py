from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from clipsieve.evaluation.statistics.auc import auc, paired_auc
from clipsieve.evaluation.statistics.intervals import Estimate, widened, wilson
from clipsieve.evaluation.statistics.paired import by_cluster, paired_difference
from clipsieve.evaluation.statistics.variance import split_variance

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


def test_the_interval_is_scipys_bootstrap():
    generator = np.random.default_rng(0)
    first, second = generator.random(300), generator.random(300) * 0.9
    ours = paired_difference(first, second)
    theirs = bootstrap(
        (first, second),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        random_state=np.random.default_rng(1),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], abs=0.04 * width)


def test_captions_of_one_image_are_drawn_together():
    """Against scipy's bootstrap of the ratio of the images' sums to their counts."""
    generator = np.random.default_rng(0)
    counts = generator.integers(1, 6, 80)
    clusters = np.repeat(np.arange(80), counts)
    first = (generator.random(len(clusters)) < 0.2 + 0.6 * (clusters % 2)).astype(float)
    second = (generator.random(len(clusters)) < 0.4).astype(float)
    sums = np.bincount(clusters, first - second)
    ours = paired_difference(first, second, [f"image {cluster}" for cluster in clusters])
    theirs = bootstrap(
        (sums, counts),
        lambda d, n, axis: d.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        random_state=np.random.default_rng(1),
    ).confidence_interval
    assert ours.value == pytest.approx((first - second).mean())
    width = theirs.high - theirs.low
    assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], abs=0.05 * width)
    apart = paired_difference(first, second)
    assert apart.high - apart.low < 0.95 * width


def test_p_values_are_uniform_where_nothing_differs():
    generator = np.random.default_rng(0)
    results = generator.integers(0, 4, (300, 2, 60))
    values = [paired_difference(first, second, seed=seed).p_value for seed, (first, second) in enumerate(results)]
    assert np.mean(np.array(values) < 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(values) == pytest.approx(0.5, abs=0.05)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_a_p_value_is_symmetric_and_tells_what_the_interval_tells(pairs):
    first, second = np.array(pairs, float).T
    ours, swapped = paired_difference(first, second), paired_difference(second, first)
    assert ours.value == -swapped.value
    assert ours.p_value == pytest.approx(swapped.p_value, abs=0.08)  # six times the draws' own sd
    if ours.low > 0 or ours.high < 0:
        assert ours.p_value < 0.06
    if np.array_equal(first, second):
        assert ours.p_value == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-2, 2), st.floats(0.1, 3)), min_size=1, max_size=30))
def test_clusters_keep_the_weighted_mean(rows):
    clusters, values, weights = (np.array(column) for column in zip(*rows, strict=True))
    means, whole = by_cluster(values, weights, clusters)
    assert np.average(means, weights=whole) == pytest.approx(np.average(values, weights=weights), abs=1e-9)


def test_the_variance_of_seeds_and_of_samples_are_told_apart():
    """Generated with known parts: a result is a seed's effect, a sample's, and noise of its own."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(200):
        seeds, samples = generator.normal(0, 0.02, (6, 1)), generator.normal(0, 0.5, (1, 400))
        found.append(split_variance(seeds + samples + generator.normal(0, 0.3, (6, 400))))
    assert np.sqrt(np.mean([each.seed**2 for each in found])) == pytest.approx(0.02, rel=0.1)
    expected = np.sqrt((0.5**2 + 0.3**2) / 400)
    assert np.sqrt(np.mean([each.sample**2 for each in found])) == pytest.approx(expected, rel=0.05)


def test_runs_that_differ_in_nothing_have_no_variance_of_seeds():
    hits = np.tile(np.random.default_rng(0).random(50) < 0.5, (3, 1))
    assert split_variance(hits).seed == 0
    assert split_variance(hits).sample == pytest.approx(hits[0].std(ddof=1) / np.sqrt(50))
    with pytest.raises(ValueError, match="got 1 and 50"):
        split_variance(hits[:1])


def test_errors_add_in_quadrature():
    estimate = widened(Estimate(0.5, 0.5 - 3 * Z, 0.5 + 3 * Z), 4)
    assert (estimate.low, estimate.high) == (pytest.approx(0.5 - 5 * Z), pytest.approx(0.5 + 5 * Z))


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
