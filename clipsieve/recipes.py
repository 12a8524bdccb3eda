"""Runs a recipe: the stages that it names, in order, each into its folder. One that is done returns at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.recipe import Recipe, TrainStage

if TYPE_CHECKING:
    from rich.table import Table


def run(chosen: Recipe, out: str, beam_args: Sequence[str] = ()) -> Iterator[str | Table]:
    """Run the recipe into the folder ``out``; yields what to show of each stage as it ends, the report's path last.

    Raises InputError for a subset that the recipe's `select` did not write, and what the stages raise.
    """
    yield from _curate(chosen, out, beam_args)
    yield from _train(chosen, out)
    yield from _evaluate(chosen, out)
    if chosen.report:
        from clipsieve.evaluation.report import page as report
        from clipsieve.evaluation.report.summary import summary_table

        page = report.run(out)
        yield summary_table(out)
        yield page


def _curate(chosen: Recipe, out: str, beam_args: Sequence[str]) -> Iterator[str | Table]:
    """What Beam runs: the stages from the table to subsets, and these as shards."""
    opt_out = chosen.opt_out
    shards, scores, filters, repeats = (files.join(out, name) for name in ("shards", "scores", "filters", "dedup"))
    if chosen.download:
        from clipsieve.pipelines.download import job as download

        yield download.run(chosen.pairs, shards, chosen.download, beam_args, opt_out=opt_out).line(shards)
    if chosen.score:
        from clipsieve.pipelines.score import job as score

        yield score.run(shards, scores, chosen.score, beam_args, opt_out).line(scores)
    if chosen.filter:
        from clipsieve.pipelines.filters import job as filtering
        from clipsieve.pipelines.filters.show import waterfall_table

        options, targets = chosen.filter.options(), chosen.filter.targets
        yield filtering.run(scores, filters, options, beam_args, shards, targets).line(filters)
        yield waterfall_table(filters)
    if chosen.dedup:
        from clipsieve.pipelines.dedup import job as dedup

        dedup_options, tasks = chosen.dedup.options(), chosen.dedup.tasks
        yield dedup.run(shards, scores, repeats, dedup_options, beam_args, tasks).line(repeats)
    if chosen.select:
        from clipsieve.pipelines.select import job as select

        verdicts = filters if chosen.filter else None, repeats if chosen.dedup else None
        yield select.run(scores, out, chosen.select, beam_args, opt_out, *verdicts).line(out)
    for part in chosen.reshard:
        from clipsieve.pipelines.reshard import job as reshard

        folder = files.join(out, "resharded", part.subset)
        yield reshard.run(shards, _subset(out, part.subset), folder, part.options(), beam_args, opt_out).line(folder)


def _train(chosen: Recipe, out: str) -> Iterator[str]:
    """The tokenizer of the shards' captions, and the models."""
    shards = files.join(out, "shards")
    if chosen.tokenizer:
        from clipsieve.training import tokenizer

        folder = files.join(out, "tokenizer")
        captions = tokenizer.shard_captions(shards)
        yield tokenizer.run(captions, {"shards": shards}, folder, chosen.tokenizer).line(folder)
    for stage in chosen.train:
        from clipsieve.training import train

        folder = files.join(out, "models", stage.name)
        subsets = [_subset(out, name) + weight for name, weight in stage.weighted_subsets()]
        yield train.run(shards, subsets, folder, _train_options(chosen, stage, out), chosen.opt_out).line(folder)


def _evaluate(chosen: Recipe, out: str) -> Iterator[str]:
    """Every model of the recipe on its tasks."""
    if chosen.evaluate is None:
        return
    from clipsieve.evaluation import evaluate

    for stage in chosen.train:
        model, folder = (files.join(out, kind, stage.name) for kind in ("models", "evaluations"))
        yield evaluate.run(model, chosen.evaluate.data, folder, chosen.evaluate.options()).line(folder)


def _subset(out: str, name: str) -> str:
    """The file of a subset or sample that `select` wrote under ``out``."""
    paths = [files.join(out, folder, f"{name}.npy") for folder in ("subsets", "samples")]
    for path in paths:
        if files.exists(path):
            return path
    raise InputError(f"recipe: subset {name!r} is not there ({' nor '.join(paths)}); name one that select writes")


def _train_options(chosen: Recipe, stage: TrainStage, out: str) -> TrainOptions:
    """A run's options with the paths under ``out`` of what the recipe's stages before it made."""
    made: dict[str, Any] = {}
    if stage.initial in {other.name for other in chosen.train}:
        made["initial"] = files.join(out, "models", str(stage.initial))
    if chosen.tokenizer:
        made["tokenizer"] = files.join(out, "tokenizer", "spiece.model")
        made["canonicalize"] = chosen.tokenizer.canonicalize
    return stage.options().model_copy(update=made)
