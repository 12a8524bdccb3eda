"""Evaluates a model that is still being trained, for the trainer's log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from clipsieve.evaluation.datasets.read import find_tasks, read_task
from clipsieve.evaluation.datasets.task import Task
from clipsieve.evaluation.features.cache import Features
from clipsieve.evaluation.protocols.registry import PROTOCOLS, Protocol
from clipsieve.evaluation.result_row import main_metric
from clipsieve.schemas.models import LoadedModel
from clipsieve.schemas.options import EvaluateOptions

_OPTIONS = EvaluateOptions()
"""Of `evaluate` as it is by default: nothing is learnt from the tasks."""


@dataclass(frozen=True)
class _TaskProtocol:
    task: Task
    protocol: Protocol


def task_evaluator(tasks: str | None) -> Callable[[LoadedModel], Mapping[str, float]] | None:
    """What evaluates a model on ``tasks``: the folder that `evaluate` takes as its data, ``DIR`` or ``builtin``, or
    some of its tasks, ``DIR=NAME,NAME``. It returns each task's main metric, as ``evaluate/NAME/acc1``.

    Raises InputError for a task that is not there or not well formed.
    """
    if tasks is None:
        return None
    data, _, names = tasks.partition("=")
    found = find_tasks(data, [name for name in names.split(",") if name])
    read = [read_task(path, slug) for slug, path in found.items()]
    protocols = [PROTOCOLS[name] for name in _OPTIONS.protocols]
    jobs = [_TaskProtocol(task, protocol) for task in read for protocol in protocols if isinstance(task, protocol.kind)]
    return lambda model: _evaluate(jobs, model)


def _evaluate(jobs: list[_TaskProtocol], model: LoadedModel) -> dict[str, float]:
    with TemporaryDirectory(prefix="clipsieve-features-") as cache:
        features = Features(model, _OPTIONS.preset, _OPTIONS.prompts, cache, _OPTIONS.batch_size)
        found = {}
        for job in jobs:
            metric = main_metric(job.task, job.protocol)
            value = job.protocol.evaluate(job.task, features).metrics[metric]
            if value is not None:
                found[f"evaluate/{job.task.key}{job.protocol.suffix}/{metric}"] = value
        return found
