"""Two models on the same samples: how much better the one is, and how sure that is (paired bootstrap)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clipsieve.evaluation.statistics.intervals import Estimate, percentile_interval

DRAWS = 10_000
_CHUNK_VALUES = 1 << 22
_ROUNDING = 1e-12
"""Sums that are nothing but for the order of their terms."""


@dataclass(frozen=True)
class Difference(Estimate):
    """A difference, its 95% interval, and how often chance alone would show as much."""

    p_value: float
    """Two-sided: it is below 0.05 just where the interval leaves out zero, to the precision of the draws."""


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    clusters: Sequence[str] | np.ndarray | None = None,
    weights: np.ndarray | None = None,
    seed: int = 0,
) -> Difference:
    """Weighted mean of ``first`` less that of ``second``, with its percentile interval; see `paired_draws`."""
    return difference_of(*paired_draws(first, second, clusters, weights, seed))


def paired_draws(
    first: np.ndarray,
    second: np.ndarray,
    clusters: Sequence[str] | np.ndarray | None = None,
    weights: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[float, np.ndarray]:
    """The difference of two models' results [N] on the same samples in one order, and 10,000 bootstrap draws of it.

    Both models are resampled together; ``clusters`` (an image's name for each of its captions) are drawn whole.
    ValueError where the lengths differ or fewer than two samples or clusters are there.
    """
    if len(first) != len(second):
        raise ValueError(f"expected equally many results of both models, got {len(first)} and {len(second)}")
    change = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    weights = np.ones(len(change)) if weights is None else np.asarray(weights, np.float64)
    if clusters is not None:
        change, weights = by_cluster(change, weights, clusters)
    if len(change) < 2:
        raise ValueError("expected at least two samples or clusters")
    # Equal units are drawn as one, as often as they are there: a bootstrap draw is multinomial in the distinct ones.
    units, copies = np.unique(np.stack([weights * change, weights], axis=1), axis=0, return_counts=True)
    drawn = np.concatenate([counts @ units for counts in bootstrap_counts(copies, DRAWS, seed)])
    return float(np.average(change, weights=weights)), drawn[:, 0] / drawn[:, 1]


def by_cluster(
    values: np.ndarray, weights: np.ndarray, clusters: Sequence[str] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each cluster's weighted mean and weight, float64[G] each, of values, weights and cluster names [N]."""
    _, cluster_of = np.unique(np.asarray(clusters), return_inverse=True)
    whole = np.bincount(cluster_of, weights)
    return np.bincount(cluster_of, weights * values) / whole, whole


def bootstrap_counts(copies: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of U kinds of unit, ``copies[U]`` of each, is in each draw: int64[draws, U], in chunks."""
    generator = np.random.default_rng(seed)
    total = int(copies.sum())
    at_once = max(1, _CHUNK_VALUES // len(copies))
    for start in range(0, draws, at_once):
        yield generator.multinomial(total, copies / total, min(at_once, draws - start))


def difference_of(value: float, drawn: np.ndarray) -> Difference:
    """The percentile interval and p-value that bootstrap differences float64[draws] give."""
    fewer = min((drawn <= _ROUNDING).sum(), (drawn >= -_ROUNDING).sum())
    p_value = min(1.0, 2 * (1 + fewer) / (1 + len(drawn)))
    return Difference(value, *percentile_interval(drawn), float(p_value))
