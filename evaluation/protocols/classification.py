"""Classifying images by their scores: the predictions, metrics and table of samples that all protocols share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from clipsieve.evaluation.datasets.task import ClassificationTask
from clipsieve.evaluation.protocols.ranking import hit_rate, rank_of, score_chunks

_LEAST_CLASSES_FOR_ACC5 = 5


@dataclass(frozen=True)
class Classified:
    """What became of a task's samples; those that have no right class are left out, as ReaL's protocol does."""

    ids: tuple[str, ...]
    labels: np.ndarray
    """int64[N]; where several classes are right, the one that the model ranks best."""
    predictions: np.ndarray
    ranks: np.ndarray
    """int64[N]: how many classes stand before the label."""
    metrics: dict[str, float | None]

    def table(self) -> pa.Table:
        """The rows of ZERO_SHOT_SAMPLES."""
        return pa.table(
            {
                "id": list(self.ids),
                "label": self.labels,
                "prediction": self.predictions,
                "correct": self.predictions == self.labels,
                "rank": self.ranks,
            }
        )


def classify_task(
    task: ClassificationTask, images: np.ndarray, candidates: np.ndarray, class_of: np.ndarray
) -> Classified:
    """Classify a task's images[N, D] by their products with candidates[M, D], of which each is of a class."""
    has_label = np.array([bool(right) for right in task.labels])
    labels, predictions, ranks = classify(images[has_label], candidates, class_of, [own for own in task.labels if own])
    metrics = classification_metrics(labels, ranks, task.classes)
    if not task.has_one_label:
        metrics["mean_per_class_recall"] = None  # an image of several classes counts for no one of them
    ids = tuple(id_ for id_, kept in zip(task.ids, has_label, strict=True) if kept)
    return Classified(ids, labels, predictions, ranks, metrics)


def classify(
    images: np.ndarray, names: np.ndarray, class_of: np.ndarray, right: list[tuple[int, ...]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best right class, predicted class and rank of the former, int64[N] each; of equal classes the lower index wins.

    ``class_of[j]`` is the class of names[j]; a class's score is the highest of its names'. ``right[i]`` holds the
    right classes of images[i], at least one.
    """
    labels, predictions, ranks = (np.empty(len(images), np.int64) for _ in range(3))
    for chunk, scores in class_scores(images, names, class_of):
        predictions[chunk] = scores.argmax(axis=1)
        labels[chunk] = [own[scores[row, list(own)].argmax()] for row, own in enumerate(right[chunk])]
        ranks[chunk] = rank_of(scores, labels[chunk])
    return labels, predictions, ranks


def class_scores(images: np.ndarray, names: np.ndarray, class_of: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Chunks (slice of N, float32[rows, C]) of the classes' scores: the highest of each class's names'."""
    first_names = np.unique(class_of, return_index=True)[1]
    for chunk, by_name in score_chunks(images, names):
        whole = len(first_names) == len(names)
        yield chunk, by_name if whole else np.maximum.reduceat(by_name, first_names, axis=1)


def classification_metrics(labels: np.ndarray, ranks: np.ndarray, classes: int) -> dict[str, float | None]:
    """DataComp's metrics as fractions; acc5 is null below 5 classes.

    mean_per_class_recall is over the classes that have samples, as scikit-learn's balanced accuracy.
    """
    acc1 = hit_rate(ranks, 1)
    acc5 = hit_rate(ranks, 5) if classes >= _LEAST_CLASSES_FOR_ACC5 else None
    of_class = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels, weights=ranks == 0, minlength=classes)
    recall = float((hits[of_class > 0] / of_class[of_class > 0]).mean())
    return {"acc1": acc1, "acc5": acc5, "mean_per_class_recall": recall}
