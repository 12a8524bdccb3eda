"""Intervals of single figures: 95% throughout."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
DEVIATIONS = float(norm.ppf((1 + CONFIDENCE) / 2))
"""Standard deviations on each side of a normal mean that hold 95%."""


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


def percentile_interval(drawn: np.ndarray) -> tuple[float, float]:
    """What holds the middle 95% of bootstrap values [draws]."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def widened(estimate: Estimate, error: float) -> Estimate:
    """``estimate`` with a further, independent source of error of that standard deviation: both in quadrature."""
    low = math.hypot(estimate.value - estimate.low, DEVIATIONS * error)
    high = math.hypot(estimate.high - estimate.value, DEVIATIONS * error)
    return Estimate(estimate.value, estimate.value - low, estimate.value + high)
