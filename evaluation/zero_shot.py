"""Zero-shot classification: an image belongs to the class whose prompts it is most similar to.

The protocol of CLIP (Radford et al. 2021, section 3.1.4), as open_clip, CLIP_benchmark and DataComp run it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from evaluation.datasets import ZeroShotTask
from evaluation.embeddings import embed_texts
from evaluation.ranking import hit_rate, rank_of, score_chunks
from evaluation.results import Outcome
from evaluation.statistics import wilson
from schemas.models import LoadedModel
from schemas.tables import ZERO_SHOT_SAMPLES

_LEAST_CLASSES_FOR_ACC5 = 5


def evaluate(model: LoadedModel, task: ZeroShotTask, images: np.ndarray, batch_size: int) -> Outcome:
    """Classify the task's embedded images float32[N, D]."""
    classes = class_embeddings(model, task, batch_size)
    labels = np.asarray(task.labels)
    predictions, ranks = classify(images, classes, labels)
    metrics = zero_shot_metrics(labels, ranks, len(task.classnames))
    samples = pa.table(
        {
            "id": list(task.ids),
            "label": labels,
            "prediction": predictions,
            "correct": predictions == labels,
            "rank": ranks,
        }
    )
    proportions = {name: metrics[name] for name in ("acc1", "acc5", "main_metric")}
    intervals = {name: wilson(x, len(labels)) for name, x in proportions.items() if x is not None}
    return Outcome(metrics, intervals, len(labels), {"": (ZERO_SHOT_SAMPLES, samples)})


def class_embeddings(model: LoadedModel, task: ZeroShotTask, batch_size: int) -> np.ndarray:
    """float32[classes, D]: of each class, the mean of its prompts' unit embeddings, at unit length again."""
    prompts = [template.replace("{c}", name) for name in task.classnames for template in task.templates]
    embedded = embed_texts(model, prompts, batch_size)
    means = embedded.reshape(len(task.classnames), len(task.templates), -1).mean(axis=1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def classify(images: np.ndarray, classes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predicted class and rank of the true class, int64[N] each; of equal classes the lower index wins."""
    predictions, ranks = np.empty(len(images), np.int64), np.empty(len(images), np.int64)
    for chunk, scores in score_chunks(images, classes):
        predictions[chunk] = scores.argmax(axis=1)
        ranks[chunk] = rank_of(scores, labels[chunk])
    return predictions, ranks


def zero_shot_metrics(labels: np.ndarray, ranks: np.ndarray, classes: int) -> dict[str, float | None]:
    """DataComp's metrics as fractions; acc5 is null below 5 classes.

    mean_per_class_recall is over the classes that have samples, as scikit-learn's balanced accuracy.
    """
    acc1 = hit_rate(ranks, 1)
    acc5 = hit_rate(ranks, 5) if classes >= _LEAST_CLASSES_FOR_ACC5 else None
    of_class = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels, weights=ranks == 0, minlength=classes)
    recall = float((hits[of_class > 0] / of_class[of_class > 0]).mean())
    return {"acc1": acc1, "acc5": acc5, "mean_per_class_recall": recall, "main_metric": acc1}
