"""The trained models of a run and what their evaluations found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clipsieve.evaluation.pages import words
from clipsieve.evaluation.results.tables import read_rows
from clipsieve.schemas import files
from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.run import Made, Run
from clipsieve.schemas.stages import STAGES
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, read_table
from clipsieve.schemas.training_data import TrainingData


@dataclass(frozen=True)
class Result:
    """One metric of one task as a fraction, with its 95% interval where the evaluation gives one."""

    task: str
    kind: str
    dataset: str
    metric: str
    value: float
    interval: tuple[float, float] | None
    samples: int


@dataclass(frozen=True)
class ModelRun:
    """A trained model: recipe and counts, loss by step, and its results (none where it is not evaluated)."""

    name: str
    data: TrainingData
    manifest: Manifest
    losses: tuple[tuple[int, float], ...]
    results: tuple[Result, ...]
    samples_folder: str

    @property
    def counts(self) -> TrainCounts:
        return self.manifest.counted(TrainCounts)

    @property
    def pairs(self) -> int:
        return self.counts.pairs


def read_models(run: Run) -> tuple[ModelRun, ...]:
    """The models whose training is complete: first those trained on all pairs, then by name."""
    models = [
        _read_model(run.path, made, data)
        for made in run.of("train")
        if made.manifest.complete and (data := made.manifest.trained_on())
    ]
    return tuple(sorted(models, key=lambda model: (not model.data.is_all, model.name)))


def _read_model(run_dir: str, made: Made, data: TrainingData) -> ModelRun:
    name = files.name_of(made.name)
    evaluation = STAGES["evaluate"].folder(run_dir, name)
    return ModelRun(
        name=name,
        data=data,
        manifest=made.manifest,
        losses=_read_losses(files.join(made.path, TRAIN_LOG_NAME)),
        results=tuple(result for row in read_rows(evaluation) for result in _results_of(row)),
        samples_folder=files.join(evaluation, "samples"),
    )


def _results_of(row: dict[str, Any]) -> list[Result]:
    metrics = words.TASK_METRICS.get(row["task"], ("main_metric",))
    intervals = row["intervals"]
    return [
        Result(
            task=row["key"],
            kind=row["task"],
            dataset=row["dataset"],
            metric=metric,
            value=row["metrics"][metric],
            interval=tuple(intervals[metric]) if metric in intervals else None,
            samples=row["samples"],
        )
        for metric in metrics
        if metric in row["metrics"]
    ]


def _read_losses(path: str) -> tuple[tuple[int, float], ...]:
    """Step and loss of each row of a training log; none where there is no log."""
    if not files.exists(path):
        return ()
    rows = read_table(path, TRAIN_LOG, ["step", "loss"])
    return tuple(zip(rows["step"].to_pylist(), rows["loss"].to_pylist(), strict=True))
