"""Multilabel classification: mean average precision over the classes, as CLIP_benchmark computes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.evaluation.datasets.task import MultilabelTask
from clipsieve.evaluation.features.cache import Features
from clipsieve.evaluation.protocols.prompts import class_prompts
from clipsieve.evaluation.protocols.ranking import score_chunks
from clipsieve.evaluation.results.tables import TaskResult
from clipsieve.evaluation.statistics.intervals import percentile_interval
from clipsieve.evaluation.statistics.paired import bootstrap_counts
from clipsieve.schemas import files
from clipsieve.schemas.tables import read_table
from clipsieve.schemas.task_tables import MULTILABEL_SAMPLES

METRIC = "mean_average_precision"
DRAWS = 1_000


@dataclass(frozen=True)
class Ranking:
    """Which images are of which class, and their order for each."""

    ids: list[str]
    is_of: np.ndarray
    """bool[N, C]."""
    order: np.ndarray
    """int64[N, C]: rows of ``is_of``, each class's best first."""


def evaluate(task: MultilabelTask, features: Features) -> TaskResult:
    """Rank the task's images for each class by similarity to its prompts."""
    classes = features.classes(class_prompts(task, features.prompts, features.preset))
    images = features.images(task)
    scores = np.concatenate([chunk for _, chunk in score_chunks(images, classes)])
    order = class_orders(scores)
    value = mean_average_precision(task.is_of, order, np.ones(len(images)))
    drawn = [mean_average_precision(task.is_of, order, counts) for counts in resampled(len(images))]
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(len(images))[:, None], axis=0)
    table = pa.table(
        {
            "id": np.repeat(task.ids, len(task.classnames)),
            "class_index": np.tile(np.arange(len(task.classnames)), len(images)),
            "is_of": task.is_of.ravel(),
            "rank": ranks.ravel(),
        }
    )
    interval = percentile_interval(np.array(drawn))
    return TaskResult({METRIC: value}, {METRIC: interval}, len(images), {"": (MULTILABEL_SAMPLES, table)})


def read_ranking(samples_folder: str, key: str) -> Ranking:
    """The ranking that the evaluation of ``key`` left."""
    rows = read_table(files.join(samples_folder, f"{key}.parquet"), MULTILABEL_SAMPLES)
    classes = pc.max(rows["class_index"]).as_py() + 1
    shape = (len(rows) // classes, classes)
    order = np.argsort(rows["rank"].to_numpy().reshape(shape), axis=0, kind="stable")
    is_of = rows["is_of"].to_numpy(zero_copy_only=False).reshape(shape)
    return Ranking(rows["id"].to_pylist()[::classes], is_of, order)


def class_orders(scores: np.ndarray) -> np.ndarray:
    """scores[N, C] -> int64[N, C]: each class's images, the highest score first, of equal ones the lower index."""
    return np.argsort(-scores, axis=0, kind="stable")


def mean_average_precision(is_of: np.ndarray, order: np.ndarray, counts: np.ndarray) -> float:
    """Mean over the classes of average precision, image i being there counts[i] times; is_of, order: [N, C].

    Average precision is the mean of the precision at each image of the class. A class without any counts as 0, as at
    CLIP_benchmark.
    """
    here = counts[order]
    hits = np.take_along_axis(is_of, order, axis=0) * here
    precision = hits.cumsum(axis=0) / np.maximum(here.cumsum(axis=0), 1)
    return float(((precision * hits).sum(axis=0) / np.maximum(hits.sum(axis=0), 1)).mean())


def resampled(images: int, seed: int = 0) -> Iterator[np.ndarray]:
    """How often, int64[N], each of N images is in each of 1,000 bootstrap draws."""
    for chunk in bootstrap_counts(np.ones(images, np.int64), DRAWS, seed):
        yield from chunk
