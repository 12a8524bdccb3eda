"""Models against the one trained on all pairs, sample by sample (paired bootstrap)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from evaluation.report.models import ModelRun, Result
from evaluation.statistics import Estimate, paired_difference
from schemas import files
from schemas.errors import InputError
from schemas.tables import RETRIEVAL_IMAGES, RETRIEVAL_TEXTS, ZERO_SHOT_SAMPLES, Table, read_table

_SAMPLE_FILES: dict[str, tuple[str, Table, int]] = {
    "acc1": ("", ZERO_SHOT_SAMPLES, 1),
    "text_retrieval_recall@1": (".images", RETRIEVAL_IMAGES, 1),
    "text_retrieval_recall@10": (".images", RETRIEVAL_IMAGES, 10),
    "image_retrieval_recall@1": (".texts", RETRIEVAL_TEXTS, 1),
    "image_retrieval_recall@10": (".texts", RETRIEVAL_TEXTS, 10),
}
"""Of each metric, the suffix and the table of the file that holds the rank (0 is first) of each sample's right
answer, and the rank below which it counts."""


@dataclass(frozen=True)
class Comparison:
    """How much better (in fractions) ``model`` is than ``baseline``, trained alike but on all pairs."""

    model: ModelRun
    baseline: ModelRun
    result: Result
    difference: Estimate

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.difference.low > 0 or self.difference.high < 0


def compare(models: Sequence[ModelRun]) -> tuple[Comparison, ...]:
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
                    comparisons.append(Comparison(model, baseline, result, difference))
    return tuple(comparisons)


def _baseline(model: ModelRun, models: Sequence[ModelRun]) -> ModelRun | None:
    if model.subset is None:
        return None
    alike = (other for other in models if other.recipe_but_subset == model.recipe_but_subset)
    return next((other for other in alike if other.subset is None), None)


def _difference(ours: pa.Table | None, theirs: pa.Table | None) -> Estimate | None:
    if ours is None or theirs is None or len(ours) < 2 or not ours["id"].equals(theirs["id"]):
        return None
    return paired_difference(ours["hit"].to_numpy(), theirs["hit"].to_numpy())


def _hits(model: ModelRun, result: Result) -> pa.Table | None:
    """id, hit: one row an image, whose mean is the metric; None where the evaluation left no per-sample file.

    An image with c right captions, of the K captions of N images, has hit = c · N / K: images are resampled
    whole, and those with more captions weigh more, as they do in recall over captions.
    """
    if result.metric not in _SAMPLE_FILES:
        return None
    suffix, table, within = _SAMPLE_FILES[result.metric]
    path = files.join(model.samples_folder, f"{result.task}{suffix}.parquet")
    if not files.exists(path):
        return None
    rows = read_table(path, table, ["id", "rank"])
    right = pc.less(rows["rank"], within).cast(pa.float64())
    images = pa.table({"id": rows["id"], "right": right}).group_by("id").aggregate([("right", "sum")])
    hit = pc.multiply(images["right_sum"], len(images) / max(1, len(rows)))
    mean = pc.mean(hit).as_py()
    if mean is None or not math.isclose(mean, result.value, abs_tol=1e-6):
        raise InputError(
            f"{path}: its rows give {mean} for {result.metric}, results.jsonl says {result.value}; "
            f"remove that folder and evaluate {model.name} again"
        )
    return pa.table({"id": images["id"], "hit": hit}).sort_by("id")
