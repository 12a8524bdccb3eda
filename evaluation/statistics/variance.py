"""Where the spread of a result comes from: the seeds of the runs, or the samples that they were tried on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class VarianceSplit:
    """Standard deviations of one run's result, by source."""

    seed: float
    """Of the run itself: what another seed would change, were there samples without end."""
    sample: float
    """Of the samples: what another draw of as many would change."""


def split_variance(results: np.ndarray) -> VarianceSplit:
    """Split the variance of the mean of results[R, N]: R >= 2 runs that differ in their seed, on the same N samples.

    Two-way crossed random effects with one observation a cell, estimated by analysis of variance (Searle, Casella and
    McCulloch, Variance Components, 1992); a negative component is 0. The spread of the R means alone would
    count what seeds and samples do together as the seeds' own.
    """
    runs, samples = results.shape
    if runs < 2 or samples < 2:
        raise ValueError(f"expected at least two runs and two samples, got {runs} and {samples}")
    results = np.asarray(results, np.float64)
    of_runs, of_samples = results.mean(axis=1, keepdims=True), results.mean(axis=0, keepdims=True)
    rest = results - of_runs - of_samples + results.mean()
    together = float((rest**2).sum()) / ((runs - 1) * (samples - 1))
    seed = max(0.0, float(of_runs.var(ddof=1)) - together / samples)
    sample = max(0.0, float(of_samples.var(ddof=1)) - together / runs)
    return VarianceSplit(math.sqrt(seed), math.sqrt((sample + together) / samples))
