"""Evaluate a model on a folder of tasks.

    clipsieve evaluate --model runs/models/top40 --out runs/evaluations/top40

OUT then holds ``results.jsonl`` (a row a task), ``samples/`` (Parquet, a row a sample), the peers' files,
``report/index.html`` (mistakes, with pictures), the image features and the manifest. What is wrong with a task stops
that task alone. Run again, an evaluation does what is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from clipsieve.evaluation.datasets.layouts.find import has_training_split
from clipsieve.evaluation.datasets.read import find_tasks, read_task
from clipsieve.evaluation.datasets.task import Task
from clipsieve.evaluation.features.cache import Features
from clipsieve.evaluation.features.processes import Ranks, joined_ranks
from clipsieve.evaluation.mistakes.page import write_page
from clipsieve.evaluation.protocols.registry import PROTOCOLS, Protocol
from clipsieve.evaluation.result_row import PROTOCOL, result_row
from clipsieve.evaluation.results.exports import write_exports
from clipsieve.evaluation.results.tables import TaskResult, read_rows, write_rows, write_samples
from clipsieve.schemas import files
from clipsieve.schemas.counts import EvaluateCounts
from clipsieve.schemas.errors import ClipsieveError, InputError, one_line
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest, begin, finish, input_digest, present_manifest, read_manifest
from clipsieve.schemas.models import LoadedModel, load_model
from clipsieve.schemas.options import EvaluateOptions
from clipsieve.schemas.results import results_digest
from clipsieve.schemas.terminal import say


@dataclass(frozen=True)
class TaskProtocol:
    """One protocol on one task; its result is the row ``key``."""

    task: Task
    protocol: Protocol

    @property
    def key(self) -> str:
        return self.task.key + self.protocol.suffix


def run(model: str, data: str, out: str, options: EvaluateOptions, cache: str | None = None) -> Manifest:
    """Evaluate ``model`` (a folder or ``open_clip:…``) on the tasks of ``data`` (a folder or ``builtin``).

    A complete ``out`` of the same model, data and options is returned as it is. Raises InputError, before anything is
    written, for a model, task name or option that is wrong; ClipsieveError, at the end, where a task failed.
    """
    protocols = _chosen(options.protocols)
    failures: dict[str, str] = {}
    found = find_tasks(data, options.tasks, failures)
    asked = len(found) + len(failures)
    with joined_ranks() as ranks:
        loaded = load_model(model)
        _place(loaded)
        tasks = _read_tasks(found, options.preset, failures)
        jobs = _jobs(tasks, protocols, found, failures)
        with only_writer(out) if ranks.is_first else nullcontext():
            manifest = _begin(out, options, loaded, found, jobs, ranks)
            if manifest.complete:
                return manifest
            features = Features(
                loaded,
                options.preset,
                options.prompts,
                cache or files.join(out, "features"),
                options.batch_size,
                ranks,
            )
            rows = _evaluate(jobs, features, out, failures)
            if not ranks.is_first:
                return manifest
            write_exports(out, model, rows)
            write_page(out, model, tasks, features, rows)
            if failures:
                raise _failed(failures, asked)
            counts = EvaluateCounts(tasks=len(rows), samples=sum(row["samples"] for row in rows))
            return finish(out, manifest, counts, results_digest(out))


def _chosen(names: Sequence[str]) -> list[Protocol]:
    for name in names:
        if name not in PROTOCOLS:
            raise InputError(f"evaluate: `protocols`: {name!r} is not one of {', '.join(PROTOCOLS)}")
    return [protocol for name, protocol in PROTOCOLS.items() if name in names]


def _jobs(
    tasks: Sequence[Task], protocols: Sequence[Protocol], found: dict[str, str], failures: dict[str, str]
) -> list[TaskProtocol]:
    """Each task under each protocol that fits it: one that learns fits the tasks that have a training split."""
    can_learn = {task.key for task in tasks if has_training_split(found[task.key])}
    jobs = [
        TaskProtocol(task, protocol)
        for task in tasks
        for protocol in protocols
        if isinstance(task, protocol.kind) and (not protocol.learns or task.key in can_learn)
    ]
    for protocol in protocols:
        if protocol.learns and not failures and protocol not in [job.protocol for job in jobs]:
            raise InputError(
                f"evaluate: `protocols`: no task has a training split for {protocol.label}; put it in train/"
            )
    return jobs


def _read_tasks(found: dict[str, str], preset: str, failures: dict[str, str]) -> list[Task]:
    """The tasks that are well formed; why the others are not is added to ``failures``."""
    tasks = []
    for slug, path in found.items():
        with _noting(slug, failures):
            tasks.append(read_task(path, slug, imagenet_names=preset == "paper"))
    return tasks


@contextmanager
def _noting(key: str, failures: dict[str, str]) -> Iterator[None]:
    """Add what goes wrong in the block to ``failures``, whatever it is: it is to stop no other task."""
    try:
        yield
    except ClipsieveError as error:
        failures[key] = str(error)
    except Exception as error:
        failures[key] = f"{type(error).__name__}: {one_line(error)}"


def _begin(
    out: str,
    options: EvaluateOptions,
    model: LoadedModel,
    found: dict[str, str],
    jobs: list[TaskProtocol],
    ranks: Ranks,
) -> Manifest:
    """Open ``out``. A task that has no result yet may have been fixed since; one that has may not have changed."""
    inputs = {"model": _model_digest(model)} | {f"data {slug}": "unread" for slug in found}
    inputs |= {f"data {job.task.key}": job.task.digest for job in jobs}
    if ranks.is_first:
        before = read_manifest(out)
        done = {row["key"] for row in read_rows(out)}
        open_tasks = {job.task.key for job in jobs if job.key not in done}
        fixed = {f"data {key}": [str(before.inputs.get(f"data {key}"))] for key in open_tasks} if before else {}
        begin(out, options, inputs, fixed, protocol=PROTOCOL)
    ranks.barrier()
    return present_manifest(out)


def _evaluate(jobs: list[TaskProtocol], features: Features, out: str, failures: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of all jobs, in order; those that an earlier run left are kept. Failures are added to ``failures``.

    Every rank takes every metric, from features that each has embedded its share of; the first one writes.
    """
    done = {row["key"]: row for row in read_rows(out)}
    features.ranks.barrier()
    for job in jobs:
        if job.key in done:
            continue
        outcome = None
        with _noting(job.key, failures):
            outcome = job.protocol.evaluate(job.task, features)
        if outcome is not None and features.ranks.is_first:
            done[job.key] = _write(job, outcome, features, out)
            write_rows(out, [done[each.key] for each in jobs if each.key in done])
    return [done[job.key] for job in jobs if job.key in done]


def _write(job: TaskProtocol, outcome: TaskResult, features: Features, out: str) -> dict[str, Any]:
    write_samples(out, job.key, outcome)
    row = result_row(job.key, job.task, job.protocol, outcome, features)
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in outcome.metrics.items() if value is not None)
    say(f"evaluate: {job.key}: {row['samples']:,} images, {metrics}", is_error=True)
    return row


def _failed(failures: dict[str, str], tasks: int) -> ClipsieveError:
    for key, reason in failures.items():
        say(f"evaluate: {key}: failed: {reason}", is_error=True)
    return ClipsieveError(
        f"evaluate: {len(failures)} of {tasks} tasks failed ({', '.join(failures)}); the others are done: fix what "
        "the lines above say and run the same command again"
    )


def _model_digest(model: LoadedModel) -> str:
    """Of a folder of ours its manifest's digest, which leads back to its training; else the model's own."""
    if not model.name.startswith("open_clip:") and read_manifest(model.name) is not None:
        return input_digest(model.name)
    return model.digest


def _place(model: LoadedModel) -> None:
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32: convolutions would round to 10 bits
    model.model.to("cuda" if torch.cuda.is_available() else "cpu")
