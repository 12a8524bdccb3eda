"""Which classes a model fails on, and what it takes them for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipsieve.evaluation.statistics.intervals import wilson

WORST = 10
_CONFUSED_WITH = 3


@dataclass(frozen=True)
class ClassAccuracy:
    """One class's accuracy with its 95% interval, and the classes most often predicted instead."""

    class_: int
    samples: int
    accuracy: float
    interval: tuple[float, float]
    confusions: tuple[tuple[int, int], ...]
    """(predicted class, samples), the most frequent first."""


def class_accuracies(labels: np.ndarray, predictions: np.ndarray) -> list[ClassAccuracy]:
    """Of labels and predictions [N] the classes that have samples, the worst first, of equal ones the lower index."""
    found = [_of_class(class_, predictions[labels == class_]) for class_ in np.unique(labels).tolist()]
    return sorted(found, key=lambda each: (each.accuracy, each.class_))


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: list[int]) -> np.ndarray:
    """int64[K, K + 1]: of the samples of each of K classes, how many were given each of them, last any other."""
    place = {class_: number for number, class_ in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes) + 1), np.int64)
    for label, prediction in zip(labels.tolist(), predictions.tolist(), strict=True):
        if label in place:
            counts[place[label], place.get(prediction, len(classes))] += 1
    return counts


def _of_class(class_: int, predictions: np.ndarray) -> ClassAccuracy:
    accuracy = float((predictions == class_).mean())
    wrong, counts = np.unique(predictions[predictions != class_], return_counts=True)
    most = np.argsort(-counts, kind="stable")[:_CONFUSED_WITH]
    confusions = tuple((int(wrong[place]), int(counts[place])) for place in most)
    return ClassAccuracy(class_, len(predictions), accuracy, wilson(accuracy, len(predictions)), confusions)
