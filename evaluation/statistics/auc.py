"""The area under the ROC curve and its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap, rankdata

from clipsieve.evaluation.statistics.intervals import CONFIDENCE, Estimate

_DRAWS = 1_000


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
        n_resamples=_DRAWS,
        vectorized=False,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    low, high = drawn.confidence_interval
    return Estimate(value, float(low), float(high))
