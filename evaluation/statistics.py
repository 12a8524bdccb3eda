"""Intervals of what an evaluation measures: 95% throughout, and seeded where they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap, rankdata
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
DRAWS = 10_000
AUC_DRAWS = 1_000
_BATCH_VALUES = 1 << 22


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval."""

    value: float
    low: float
    high: float


def wilson(proportion: float, samples: int) -> tuple[float, float]:
    """Wilson's score interval of a proportion over independent samples.

    It also covers the mean of any values within [0, 1]: their variance is at most that of a proportion.
    """
    low, high = proportion_confint(proportion * samples, samples, alpha=1 - CONFIDENCE, method="wilson")
    return min(float(low), proportion), max(float(high), proportion)  # at 0 and 1 but for a rounding


def paired_difference(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Estimate:
    """mean(first) - mean(second) of two models' results [N] on the same samples in the same order.

    Percentile bootstrap over samples, both models resampled together.
    """
    if len(first) != len(second):
        raise ValueError(f"expected equally many results of both models, got {len(first)} and {len(second)}")
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    drawn = bootstrap(
        (first, second),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        n_resamples=DRAWS,
        batch=max(1, _BATCH_VALUES // len(first)),
        paired=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    low, high = drawn.confidence_interval
    return Estimate(float(np.mean(first - second)), float(low), float(high))


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a positive scores above a negative, ties counted half (the Mann-Whitney statistic)."""
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)].sum()
    return float(ranks / len(positive) - (len(positive) + 1) / 2) / len(negative)


def paired_auc(
    positive: np.ndarray, negative: np.ndarray, groups: Sequence[str] | None = None, seed: int = 0
) -> Estimate:
    """AUC of row-aligned scores: row i gives ``positive[i]`` and ``negative[i]``.

    Percentile bootstrap over whole groups of rows (default: over rows), 1,000 draws.
    """
    names = np.arange(len(positive)) if groups is None else np.asarray(groups)
    _, group_of = np.unique(names, return_inverse=True)
    order = np.argsort(group_of, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(group_of))[:-1])

    def auc_of(drawn: np.ndarray) -> float:
        rows = np.concatenate([members[group] for group in drawn])
        return auc(positive[rows], negative[rows])

    value = auc(positive, negative)
    if len(members) == 1:
        return Estimate(value, 0.0, 1.0)  # one group says nothing of others
    drawn = bootstrap(
        (np.arange(len(members)),),
        auc_of,
        n_resamples=AUC_DRAWS,
        vectorized=False,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    low, high = drawn.confidence_interval
    return Estimate(value, float(low), float(high))
