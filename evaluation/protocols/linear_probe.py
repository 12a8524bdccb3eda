"""Linear probe: softmax regression of the classes on the frozen encoder's features.

The head begins at zero, as in Scaling (Down) CLIP, and is trained by SGD on cached features, standardised as by a
batch normalisation without parameters (He et al. 2022, appendix A.1), so that one grid of learning rates fits all
towers. The rate is chosen on held-out training images; the head is then trained on all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from clipsieve.evaluation.datasets.task import ClassificationTask, training_split
from clipsieve.evaluation.features.cache import Features
from clipsieve.evaluation.protocols.classification import classify_task
from clipsieve.evaluation.results.tables import TaskResult
from clipsieve.evaluation.statistics.intervals import wilson
from clipsieve.schemas.task_tables import ZERO_SHOT_SAMPLES
from clipsieve.schemas.terminal import say

RATES = tuple(10.0 ** (half / 2) for half in range(-6, 3))
"""Learning rates, 0.001 to 10 in half decades."""
HELD_OUT = 0.01
EPOCHS = 10
BATCH = 128
LEAST_STEPS = 500
_MOMENTUM = 0.9
_LEAST_DEVIATION = 1e-5


def evaluate(task: ClassificationTask, features: Features) -> TaskResult:
    """Train the head on the task's training split and classify the task's images."""
    train = training_split(task)
    labels = train.label_array()
    known, tried = features.pooled_images(train), features.pooled_images(task)
    probe = fit_probe(known, labels, task.classes, features.device)
    if probe.is_at_edge and features.ranks.is_first:
        say(
            f"evaluate: {task.key}: linear probe: the best learning rate, {probe.rate:g}, is at the edge of the grid "
            f"{RATES[0]:g} to {RATES[-1]:g}; a better one may lie beyond",
            is_error=True,
        )
    done = classify_task(task, probe.inputs(tried), probe.weights, np.arange(task.classes))
    intervals = {name: wilson(x, len(done.ids)) for name in ("acc1", "acc5") if (x := done.metrics[name]) is not None}
    metrics = {**done.metrics, "learning_rate": probe.rate}
    return TaskResult(metrics, intervals, len(done.ids), {"": (ZERO_SHOT_SAMPLES, done.table())}, train.digest)


@dataclass(frozen=True)
class Probe:
    """A linear classifier of standardised features."""

    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    """float32[C, W + 1]; the last column is the bias."""
    rate: float
    is_at_edge: bool
    """Whether the rate is the grid's least or greatest, and better than its neighbour."""

    def inputs(self, features: np.ndarray) -> np.ndarray:
        """Features[N, W] -> float32[N, W + 1], standardised, with a one."""
        return np.pad((features - self.mean) / self.deviation, ((0, 0), (0, 1)), constant_values=1.0)


def fit_probe(features: np.ndarray, labels: np.ndarray, classes: int, device: torch.device) -> Probe:
    """Choose the learning rate on held-out rows of features[N, W] with labels[N], then train on all rows."""
    mean, deviation = features.mean(axis=0), features.std(axis=0) + np.float32(_LEAST_DEVIATION)
    inputs = torch.from_numpy((features - mean) / deviation).to(device)
    targets = torch.from_numpy(labels).to(device)
    is_held = torch.from_numpy(held_out(labels)).to(device)
    heads = train_heads(inputs[~is_held], targets[~is_held], classes, RATES)
    accuracy, loss = _judge(heads, inputs[is_held], targets[is_held])
    best = max(range(len(RATES)), key=lambda place: (accuracy[place], -loss[place]))
    head = train_heads(inputs, targets, classes, RATES[best : best + 1])[0]
    beside = {0: 1, len(RATES) - 1: len(RATES) - 2}.get(best, best)
    return Probe(mean, deviation, head.cpu().numpy(), RATES[best], accuracy[best] > accuracy[beside])


def held_out(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """bool[N]: 1% of each class of labels[N], at least one of it, but never a class's only row."""
    generator = np.random.default_rng(seed)
    is_held = np.zeros(len(labels), bool)
    for class_ in np.unique(labels):
        own = np.flatnonzero(labels == class_)
        count = min(max(1, round(HELD_OUT * len(own))), len(own) - 1)
        is_held[generator.permutation(own)[:count]] = True
    return is_held


def train_heads(
    inputs: torch.Tensor, targets: torch.Tensor, classes: int, rates: tuple[float, ...], seed: int = 0
) -> torch.Tensor:
    """One head a learning rate, all on the same batches: inputs[N, W], targets[N] -> float32[R, C, W + 1].

    SGD with momentum 0.9, batches of 128, 10 epochs or 500 steps if that is more; the rate falls to zero as a cosine.
    """
    rows, width = inputs.shape
    heads = torch.zeros(len(rates), classes, width + 1, device=inputs.device)
    velocity = torch.zeros_like(heads)
    rate = torch.tensor(rates, device=inputs.device).view(-1, 1, 1)
    batch = min(BATCH, rows)
    steps = max(LEAST_STEPS, EPOCHS * (rows // batch))
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        if len(order) < batch:
            order = torch.randperm(rows, generator=generator)
        drawn, order = order[:batch].to(inputs.device), order[batch:]
        velocity = _MOMENTUM * velocity + _gradient(heads, inputs[drawn], targets[drawn])
        heads = heads - rate * 0.5 * (1 + math.cos(math.pi * step / steps)) * velocity
    return heads


def _gradient(heads: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Of the mean cross-entropy, in closed form: (softmax - one-hot) times the inputs."""
    errors = torch.softmax(_logits(heads, inputs), dim=2)
    errors[:, torch.arange(len(targets), device=targets.device), targets] -= 1.0
    return torch.einsum("rbc,bw->rcw", errors, _with_one(inputs)) / len(targets)


def _judge(heads: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[list[float], list[float]]:
    """Accuracy and mean cross-entropy of each head."""
    logits = _logits(heads, inputs)
    right = (logits.argmax(dim=2) == targets).double().mean(dim=1)
    rows = torch.arange(len(targets), device=targets.device)
    losses = -torch.log_softmax(logits.double(), dim=2)[:, rows, targets].mean(dim=1)
    return right.tolist(), losses.tolist()


def _logits(heads: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    return torch.einsum("bw,rcw->rbc", _with_one(inputs), heads)


def _with_one(inputs: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(inputs, (0, 1), value=1.0)
