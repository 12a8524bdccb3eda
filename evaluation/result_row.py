"""A row of ``results.jsonl``: a task's metrics and all that they depend on."""

from __future__ import annotations

from typing import Any

from clipsieve.evaluation.datasets.catalogue import BY_SLUG
from clipsieve.evaluation.datasets.task import ClassificationTask, MultilabelTask, Task
from clipsieve.evaluation.features.cache import Features
from clipsieve.evaluation.protocols.prompts import class_prompts
from clipsieve.evaluation.protocols.registry import Protocol
from clipsieve.evaluation.results.tables import TaskResult
from clipsieve.schemas import files
from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.manifest import read_manifest

PROTOCOL = 2
"""Version of the whole: it grows with every change that can move a metric."""


def result_row(key: str, task: Task, protocol: Protocol, outcome: TaskResult, features: Features) -> dict[str, Any]:
    """The row of one protocol on one task. ``main_metric`` repeats the metric that DataComp averages."""
    known, main = BY_SLUG.get(task.key), main_metric(task, protocol)
    title = known.title if known else task.name
    intervals = dict(outcome.intervals)
    if main in intervals:
        intervals["main_metric"] = intervals[main]
    return {
        "key": key,
        "dataset": f"{title}, {protocol.label.replace('_', ' ')}" if protocol.suffix else title,
        "task": protocol.label,
        "metrics": {**outcome.metrics, "main_metric": outcome.metrics[main]},
        "intervals": intervals,
        "samples": outcome.samples,
        "preset": features.preset,
        "protocol": PROTOCOL,
        "model_digest": features.model.digest,
        "task_digest": task.digest,
        "train_digest": outcome.train_digest,
        "images_digest": task.samples.digest,
        "prompts": features.prompts,
        "prompts_digest": _prompts_digest(task, features),
        **_cost(features.model.name),
    }


def main_metric(task: Task, protocol: Protocol) -> str:
    """The metric that stands for a task: DataComp's, where the protocol is the one by which it knows the task."""
    known = BY_SLUG.get(task.key)
    return known.main_metric if known and not protocol.suffix else protocol.main_metric


def _prompts_digest(task: Task, features: Features) -> str | None:
    if not isinstance(task, (ClassificationTask, MultilabelTask)):
        return None
    prompts = class_prompts(task, features.prompts, features.preset)
    return files.sha256_text(*(prompt for own in prompts for prompt in own))


def _cost(model: str) -> dict[str, float | None]:
    """What training cost, from the model folder's manifest; null for a model that is not ours.

    A forward pass of a pair in multiply-accumulates, as the papers' GFLOPs are; training in floating-point operations:
    three passes, two operations each.
    """
    manifest = None if model.startswith("open_clip:") else read_manifest(model)
    counts = manifest.counts if manifest else None
    if not isinstance(counts, TrainCounts):
        return {"samples_seen": None, "forward_gmacs": None, "training_gflops": None}
    macs, seen = counts.image_macs + counts.text_macs, counts.samples_seen
    return {"samples_seen": seen, "forward_gmacs": macs / 1e9, "training_gflops": 6 * macs * seen / 1e9}
