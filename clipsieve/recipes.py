"""Runs a recipe: the stages that it names, in order, each into its folder. One that is done returns at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clipsieve.cells import TrainingRun, may_run_side_by_side, train_side_by_side
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import (
    DownloadOptions,
    IndexOptions,
    ScoreOptions,
    SelectOptions,
    TokenizerOptions,
    TrainOptions,
)
from clipsieve.schemas.recipe import (
    DedupStage,
    DriftStage,
    EvaluateStage,
    FilterStage,
    PackStage,
    Recipe,
    ReshardStage,
    TrainStage,
)
from clipsieve.schemas.stages import STAGES, Holds

if TYPE_CHECKING:
    from rich.table import Table


def run(chosen: Recipe, out: str, beam_args: Sequence[str] = ()) -> Iterator[str | Table]:
    """Run the recipe into the folder ``out``; yields what to show of each stage as it ends, the report's path last.

    Raises InputError for a subset that the recipe's `select` did not write, and what the stages raise.
    """
    for name in STAGES:
        if wanted := getattr(chosen, name):
            yield from RUNNERS[name](wanted, chosen, out, beam_args)
    if chosen.report:
        from clipsieve.evaluation.report import page as report
        from clipsieve.evaluation.report.summary import summary_table

        page = report.run(out)
        yield summary_table(out)
        yield page


def _download(options: DownloadOptions, chosen: Recipe, out: str, beam_args: Sequence[str]) -> Iterator[str]:
    from clipsieve.pipelines.download import job as download

    folder = _folder("download", out)
    yield download.run(str(chosen.pairs), folder, options, beam_args, opt_out=chosen.opt_out).line(folder)


def _index(options: IndexOptions, chosen: Recipe, out: str, beam_args: Sequence[str]) -> Iterator[str]:
    from clipsieve.pipelines.index import job as index

    folder = _folder("index", out)
    yield index.run(chosen.shards, folder, options, beam_args).line(folder)


def _pack(stage: PackStage, chosen: Recipe, out: str, beam_args: Sequence[str]) -> Iterator[str]:
    from clipsieve.pipelines.pack import job as pack

    folder, options = _folder("pack", out), stage.options()
    yield pack.run(str(chosen.pictures), folder, options, beam_args, stage.root, chosen.opt_out).line(folder)


def _score(options: ScoreOptions, chosen: Recipe, out: str, beam_args: Sequence[str]) -> Iterator[str]:
    from clipsieve.pipelines.score import job as score

    folder = _folder("score", out)
    yield score.run(_folder("download", out), folder, options, beam_args, chosen.opt_out).line(folder)


def _drift(stage: DriftStage, chosen: Recipe, out: str, _: Sequence[str]) -> Iterator[str | Table]:
    from clipsieve.pipelines.drift import job as drift
    from clipsieve.pipelines.drift.show import drift_table

    folder, scores = _folder("drift", out), _folder("score", out) if chosen.score else None
    yield drift.run(_folder("download", out), stage.published, folder, stage.options(), scores).line(folder)
    yield drift_table(folder)


def _filter(stage: FilterStage, chosen: Recipe, out: str, beam_args: Sequence[str]) -> Iterator[str | Table]:
    from clipsieve.pipelines.filters import job as filters
    from clipsieve.pipelines.filters.show import waterfall_table

    folder = _folder("filter", out)
    scores, shards = _folder("score", out), _folder("download", out)
    drift = _folder("drift", out) if chosen.drift else None
    yield filters.run(scores, folder, stage.options(), beam_args, shards, stage.targets, drift).line(folder)
    yield waterfall_table(folder)


def _dedup(stage: DedupStage, chosen: Recipe, out: str, beam_args: Sequence[str]) -> Iterator[str]:
    from clipsieve.pipelines.dedup import job as dedup

    folder = _folder("dedup", out)
    shards, scores = _folder("download", out), _folder("score", out)
    yield dedup.run(shards, scores, folder, stage.options(), beam_args, stage.tasks).line(folder)


def _select(options: SelectOptions, chosen: Recipe, out: str, beam_args: Sequence[str]) -> Iterator[str]:
    from clipsieve.pipelines.select import job as select

    filters = _folder("filter", out) if chosen.filter else None
    repeats = _folder("dedup", out) if chosen.dedup else None
    scores = _folder("score", out)
    yield select.run(scores, out, options, beam_args, chosen.opt_out, filters, repeats).line(out)


def _reshard(parts: Sequence[ReshardStage], chosen: Recipe, out: str, beam_args: Sequence[str]) -> Iterator[str]:
    from clipsieve.pipelines.reshard import job as reshard

    shards = _folder("download", out)
    for part in parts:
        folder, subset = _folder("reshard", out, part.subset), _subset(out, part.subset)
        yield reshard.run(shards, subset, folder, part.options(), beam_args, chosen.opt_out).line(folder)


def _tokenizer(options: TokenizerOptions, chosen: Recipe, out: str, _: Sequence[str]) -> Iterator[str]:
    from clipsieve.training import tokenizer

    folder, shards = _folder("tokenizer", out), _folder("download", out)
    captions = tokenizer.shard_captions(shards)
    yield tokenizer.run(captions, {"shards": shards}, folder, options).line(folder)


def _train(stages: Sequence[TrainStage], chosen: Recipe, out: str, _: Sequence[str]) -> Iterator[str]:
    beside = may_run_side_by_side(stages)
    cells = [_cell(stage, chosen, out, threads=1 if beside else None) for stage in stages]
    if beside:
        train_side_by_side(cells, chosen.jobs)
    for cell in cells:
        yield cell.run().line(cell.out)


def _evaluate(stage: EvaluateStage, chosen: Recipe, out: str, _: Sequence[str]) -> Iterator[str]:
    """Every model of the recipe on its tasks."""
    from clipsieve.evaluation import evaluate

    for model in chosen.train:
        path, folder = _folder("train", out, model.name), _folder("evaluate", out, model.name)
        yield evaluate.run(path, stage.data, folder, stage.options()).line(folder)


RUNNERS: Mapping[str, Callable[..., Iterator[str | Table]]] = {
    "download": _download,
    "index": _index,
    "pack": _pack,
    "score": _score,
    "drift": _drift,
    "filter": _filter,
    "dedup": _dedup,
    "select": _select,
    "reshard": _reshard,
    "tokenizer": _tokenizer,
    "train": _train,
    "evaluate": _evaluate,
}
"""What runs a stage: called with what the recipe says of it, the recipe, the run's folder and Beam's options."""


def _folder(stage: str, out: str, *name: str) -> str:
    return STAGES[stage].folder(out, *name)


def _subset(out: str, name: str) -> str:
    """The file of a subset or sample that `select` wrote under ``out``."""
    folders = [output.name for output in STAGES["select"].outputs if output.holds is Holds.MEMBERS]
    paths = [files.join(out, folder, f"{name}.npy") for folder in folders]
    for path in paths:
        if files.exists(path):
            return path
    raise InputError(f"recipe: subset {name!r} is not there ({' nor '.join(paths)}); name one that select writes")


def _cell(stage: TrainStage, chosen: Recipe, out: str, threads: int | None) -> TrainingRun:
    """A run of the recipe, in so many ``threads`` unless it says its own."""
    options = _train_options(chosen, stage, out)
    return TrainingRun(
        name=stage.name,
        shards=_folder("download", out),
        subsets=tuple(_subset(out, name) + weight for name, weight in stage.weighted_subsets()),
        out=_folder("train", out, stage.name),
        options=options.model_copy(update={"threads": options.threads or threads}),
        opt_out=chosen.opt_out,
        after=stage.initial if stage.initial in {other.name for other in chosen.train} else None,
    )


def _train_options(chosen: Recipe, stage: TrainStage, out: str) -> TrainOptions:
    """A run's options with the paths under ``out`` of what the recipe's stages before it made."""
    made: dict[str, Any] = {}
    if stage.initial in {other.name for other in chosen.train}:
        made["initial"] = _folder("train", out, str(stage.initial))
    if chosen.tokenizer:
        from clipsieve.schemas.tokenizer import PIECES_NAME

        made["tokenizer"] = _folder("tokenizer", out, PIECES_NAME)
        made["canonicalize"] = chosen.tokenizer.canonicalize
    return stage.options().model_copy(update=made)
