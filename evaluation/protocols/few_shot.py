"""Few-shot classification: ridge regression of the classes on a few training images' features, in closed form.

The protocol of big_vision's ``evaluators/fewshot_lsr.py``: features before the projection, whitened by the support set,
with a constant feature for the bias; targets of -1 and 1; one ridge for all. The paper (Scaling (Down) CLIP) states no
recipe of its own, so this one is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from clipsieve.evaluation.datasets.task import ClassificationTask, training_split
from clipsieve.evaluation.features.cache import Features
from clipsieve.evaluation.protocols.classification import Classified, classify_task
from clipsieve.evaluation.results.tables import TaskResult
from clipsieve.evaluation.statistics.intervals import Estimate, widened, wilson
from clipsieve.evaluation.statistics.variance import split_variance
from clipsieve.schemas.task_tables import FEW_SHOT_SAMPLES

SEEDS = (0, 1, 2)
MOST_SHOTS = 10
RIDGE = 2.0**10
BIAS_FEATURE = 100.0
_LEAST_DEVIATION = 1e-5


def evaluate(task: ClassificationTask, features: Features, shots: int) -> TaskResult:
    """Mean over the seeds of what ``shots`` training images a class teach; ``acc1_seed_sd`` is their spread.

    The interval of acc1 holds both the images tried on and the seeds.
    """
    train = training_split(task)
    labels = train.label_array()
    support = np.stack([support_rows(labels, task.classes, MOST_SHOTS, seed) for seed in SEEDS])
    embedded = np.unique(support[support >= 0])
    known = features.pooled_rows(train, embedded)
    tried = features.pooled_images(task)
    runs = []
    for rows in support[:, :, :shots]:
        own = rows[rows >= 0]
        head = fit_ridge(known[np.searchsorted(embedded, own)], labels[own], task.classes)
        runs.append(classify_task(task, head.inputs(tried), head.weights.T, np.arange(task.classes)))
    return _outcome(runs, train.digest)


def support_rows(labels: np.ndarray, classes: int, shots: int, seed: int) -> np.ndarray:
    """int64[C, shots]: rows of labels[N] drawn for each class, -1 where it has fewer. Fewer shots are a prefix."""
    generator = np.random.default_rng(seed)
    drawn = np.full((classes, shots), -1)
    for class_ in range(classes):
        own = generator.permutation(np.flatnonzero(labels == class_))[:shots]
        drawn[class_, : len(own)] = own
    return drawn


@dataclass(frozen=True)
class RidgeHead:
    """A linear classifier of whitened features."""

    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    """float64[W + 1, C]; the last row is of the constant feature."""

    def inputs(self, features: np.ndarray) -> np.ndarray:
        """Features[N, W] -> float64[N, W + 1], whitened, with the constant."""
        return _with_bias((features - self.mean) / self.deviation)


def fit_ridge(features: np.ndarray, labels: np.ndarray, classes: int) -> RidgeHead:
    """The ridge solution for features[N, W] of labels[N]: by the smaller of the two Gram matrices."""
    wide = features.astype(np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0) + _LEAST_DEVIATION
    x = _with_bias((wide - mean) / deviation)
    targets = 2.0 * np.eye(classes)[labels] - 1.0
    is_primal = len(x) >= x.shape[1]
    eigenvalues, vectors = np.linalg.eigh(x.T @ x if is_primal else x @ x.T)
    left, right = (vectors, vectors.T @ (x.T @ targets)) if is_primal else (x.T @ vectors, vectors.T @ targets)
    return RidgeHead(mean, deviation, (left / (eigenvalues + RIDGE)) @ right)


def _with_bias(features: np.ndarray) -> np.ndarray:
    return np.pad(features, ((0, 0), (0, 1)), constant_values=BIAS_FEATURE)


def _outcome(runs: list[Classified], train_digest: str) -> TaskResult:
    hits = np.stack([run.ranks == 0 for run in runs])
    means: dict[str, float | None] = {
        name: None if value is None else float(np.mean([run.metrics[name] for run in runs]))
        for name, value in runs[0].metrics.items()
    }
    acc1, samples = float(hits.mean()), hits.shape[1]
    error = split_variance(hits).seed / np.sqrt(len(runs)) if samples > 1 else 0.0
    interval = widened(Estimate(acc1, *wilson(acc1, samples)), error)
    tables = [
        run.table().append_column("seed", pa.array([seed] * samples)) for seed, run in zip(SEEDS, runs, strict=True)
    ]
    return TaskResult(
        {**means, "acc1": acc1, "acc1_seed_sd": float(hits.mean(axis=1).std(ddof=1))},
        {"acc1": (max(0.0, interval.low), min(1.0, interval.high))},
        samples,
        {"": (FEW_SHOT_SAMPLES, pa.concat_tables(tables))},
        train_digest,
    )
