"""Models against the one trained on all pairs, sample by sample (paired bootstrap)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipsieve.evaluation.report.models import ModelRun, Result
from clipsieve.evaluation.results.hits import Hits, read_hits
from clipsieve.evaluation.statistics.intervals import Estimate
from clipsieve.evaluation.statistics.paired import paired_difference


@dataclass(frozen=True)
class SubsetComparison:
    """How much better (in fractions) ``model`` is than ``baseline``, trained alike but on all pairs."""

    model: ModelRun
    baseline: ModelRun
    result: Result
    difference: Estimate

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.difference.low > 0 or self.difference.high < 0


def compare(models: Sequence[ModelRun]) -> tuple[SubsetComparison, ...]:
    """Each model trained on a part of the pairs against the one trained alike on all, task by task.

    Left out is what cannot be paired: another recipe, no per-sample files, other samples.
    """
    comparisons = []
    for model in models:
        baseline = _baseline(model, models)
        if baseline is not None:
            theirs = {(result.task, result.metric): result for result in baseline.results}
            for result in model.results:
                other = theirs.get((result.task, result.metric))
                difference = _difference(_hits(model, result), _hits(baseline, other)) if other else None
                if difference is not None:
                    comparisons.append(SubsetComparison(model, baseline, result, difference))
    return tuple(comparisons)


def _baseline(model: ModelRun, models: Sequence[ModelRun]) -> ModelRun | None:
    if model.data.is_all:
        return None
    alike = (other for other in models if other.manifest.recipe == model.manifest.recipe)
    return next((other for other in alike if other.data.is_all), None)


def _difference(ours: Hits | None, theirs: Hits | None) -> Estimate | None:
    """Captions are counted one by one but resampled with their image."""
    if ours is None or theirs is None or len(np.unique(ours.ids)) < 2 or not np.array_equal(ours.ids, theirs.ids):
        return None
    return paired_difference(ours.values, theirs.values, ours.ids, ours.weights)


def _hits(model: ModelRun, result: Result) -> Hits | None:
    return read_hits(model.samples_folder, result.task, result.metric, result.value)
