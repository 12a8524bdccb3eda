"""The samples that are shown: the most confident mistakes, and retrievals right and wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipsieve.evaluation.datasets.task import ClassificationTask, RetrievalTask
from clipsieve.evaluation.features.cache import Features
from clipsieve.evaluation.mistakes.classes import ClassAccuracy, class_accuracies, confusion
from clipsieve.evaluation.protocols.classification import class_scores, classify
from clipsieve.evaluation.protocols.prompts import class_prompts
from clipsieve.evaluation.protocols.ranking import rank_of, score_chunks

SHOWN = 12


@dataclass(frozen=True)
class Mistake:
    """A sample that was taken for another class."""

    row: int
    label: int
    prediction: int
    margin: float
    """By how much the similarity to the prediction exceeds that to the label."""


@dataclass(frozen=True)
class Classification:
    """What a zero-shot task shows."""

    classes: tuple[ClassAccuracy, ...]
    confusion: np.ndarray
    """Of the worst classes; see `clipsieve.evaluation.mistakes.classes.confusion`."""
    mistakes: tuple[Mistake, ...]
    wrong: int
    samples: int


@dataclass(frozen=True)
class Retrieval:
    """An image, the best ranked of its captions, and the best ranked of other images'."""

    row: int
    own: str
    other: str
    own_rank: int
    margin: float
    """By how much the two's similarities to the image differ."""


def look_at_classes(task: ClassificationTask, features: Features, worst: int) -> Classification:
    """The worst classes' confusion, and the mistakes of the widest margin."""
    names = features.classes(class_prompts(task, features.prompts, features.preset))
    class_of = np.array(task.class_of)
    rows = np.flatnonzero([bool(right) for right in task.labels])
    images = features.images(task)[rows]
    labels, predictions, _ = classify(images, names, class_of, [own for own in task.labels if own])
    margins = np.empty(len(rows), np.float32)
    for chunk, scores in class_scores(images, names, class_of):
        both = np.stack([predictions[chunk], labels[chunk]], axis=1)
        chosen, right = np.take_along_axis(scores, both, axis=1).T
        margins[chunk] = chosen - right
    wrong = np.flatnonzero(predictions != labels)
    shown = wrong[np.argsort(-margins[wrong], kind="stable")][:SHOWN]
    classes = class_accuracies(labels, predictions)
    return Classification(
        tuple(classes),
        confusion(labels, predictions, [each.class_ for each in classes[:worst]]),
        tuple(Mistake(int(rows[i]), int(labels[i]), int(predictions[i]), float(margins[i])) for i in shown),
        len(wrong),
        len(rows),
    )


def look_at_retrieval(task: RetrievalTask, features: Features) -> tuple[tuple[Retrieval, ...], tuple[Retrieval, ...]]:
    """Image to text: the clearest of those whose own caption ranks first, and of the others."""
    texts = [text for own in task.captions for text in own]
    owner = np.repeat(np.arange(len(task.captions)), [len(own) for own in task.captions])
    own, other, ranks = (np.empty(len(task.ids), np.int64) for _ in range(3))
    margins = np.empty(len(task.ids), np.float32)
    for chunk, scores in score_chunks(features.images(task), features.texts(texts)):
        is_own = owner == np.arange(chunk.start, chunk.stop)[:, None]
        own[chunk] = np.where(is_own, scores, -np.inf).argmax(axis=1)
        other[chunk] = np.where(is_own, -np.inf, scores).argmax(axis=1)
        ranks[chunk] = rank_of(scores, own[chunk])
        mine, theirs = np.take_along_axis(scores, np.stack([own[chunk], other[chunk]], axis=1), axis=1).T
        margins[chunk] = np.abs(mine - theirs)

    def clearest(rows: np.ndarray) -> tuple[Retrieval, ...]:
        shown = rows[np.argsort(-margins[rows], kind="stable")][:SHOWN].tolist()
        return tuple(
            Retrieval(row, texts[own[row]], texts[other[row]], int(ranks[row]), float(margins[row])) for row in shown
        )

    return clearest(np.flatnonzero(ranks == 0)), clearest(np.flatnonzero(ranks > 0))
