"""The command line: each command reads its options, calls one room and prints what came of it.

Every field of a stage's options (schemas/recipe.py) is a flag of its command, so a recipe and a command line can say
the same things. Beam's own options follow ``--``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional, get_args, get_origin

import rich
import typer

from schemas import files, recipe
from schemas.errors import ClipsieveError, InputError, SignalError, signals_as_errors

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Turn a table of (URL, caption) rows into better CLIP models.",
)

Out = Annotated[str, typer.Option("--out", help="folder to write")]
OptOutList = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--opt-out", help="list of uids, URLs and domains that must not be used, one a line"),
]
QUICKSTART_PORT = 18765
BEAM = {"allow_extra_args": True, "ignore_unknown_options": False}


def stage(options_model: type[recipe.Options], **settings: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose flags are its own parameters and every field of ``options_model``.

    The function gets them as one validated ``options``. A field that holds several values is a flag in the singular
    that may be repeated: ``fractions`` is ``--fraction 20 --fraction 40``.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "options"]
        flags = [_flag(name, field) for name, field in options_model.model_fields.items()]

        def command(**values: Any) -> None:
            given = {p.name: values.pop(p.name) for p in own}
            chosen = {name: value for name, value in values.items() if value not in (None, [])}
            options = recipe.parse_options(options_model, chosen, function.__name__)
            function(**given, options=options)

        command.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
        command.__doc__ = function.__doc__
        app.command(function.__name__, **settings)(command)
        return function

    return register


def _flag(name: str, field: Any) -> inspect.Parameter:
    is_many = get_origin(field.annotation) is tuple and Ellipsis in get_args(field.annotation)
    spelling = "--" + (name[:-1] if is_many else name).replace("_", "-")
    if field.annotation is bool and field.default:
        spelling += f"/--no{spelling[1:]}"
    default = ", ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    text = f"{field.description or ''} [default: {'none' if default in ('', None) else default}]".strip()
    if field.annotation is bool:
        annotation: Any = Annotated[Optional[bool], typer.Option(spelling, help=text)]  # noqa: UP045
    elif is_many:
        annotation = Annotated[Optional[list[str]], typer.Option(spelling, help=text)]  # noqa: UP045
    elif get_origin(field.annotation) is tuple:
        annotation = Annotated[Optional[tuple[float, float]], typer.Option(spelling, help=text)]  # noqa: UP045
    else:
        annotation = Annotated[Optional[str], typer.Option(spelling, help=text)]  # noqa: UP045
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


@stage(recipe.DownloadOptions, context_settings=BEAM)
def download(
    context: typer.Context,
    pairs: Annotated[str, typer.Option(help="Parquet, CSV, TSV or JSONL with url and caption columns")],
    out: Out,
    options: recipe.DownloadOptions,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="try the pairs again whose failure may pass, into added shards")
    ] = False,
    opt_out: OptOutList = None,
) -> None:
    """Download pairs into shards that img2dataset's readers read.

    Example: `clipsieve download --pairs pairs.parquet --out run/shards -- --runner=DataflowRunner --project=mine`
    """
    from pipelines import download as room

    _say(out, room.run(pairs, out, options, _beam_args(context), retry_failed, opt_out).counts)


@stage(recipe.ScoreOptions, context_settings=BEAM)
def score(
    context: typer.Context,
    shards: Annotated[str, typer.Option(help="folder of shards, ours or img2dataset's")],
    out: Out,
    options: recipe.ScoreOptions,
    opt_out: OptOutList = None,
) -> None:
    """Score how well each image matches its caption, with a reference CLIP.

    Example: `clipsieve score --shards run/shards --out run/scores --reference builtin`
    """
    from pipelines import score as room

    _say(out, room.run(shards, out, options, _beam_args(context), opt_out).counts)


@stage(recipe.SelectOptions, context_settings=BEAM)
def select(
    context: typer.Context,
    scores: Annotated[str, typer.Option(help="folder of Parquet files with uid and a score, or one such file")],
    out: Annotated[str, typer.Option("--out", help="folder in which selection/, subsets/ and samples/ are written")],
    options: recipe.SelectOptions,
    opt_out: OptOutList = None,
    filters: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="folder of files named as the scores', with a reject_reason for each row"),
    ] = None,
    dedup: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="folder of files named as the scores', with a duplicate_of for each row"),
    ] = None,
) -> None:
    """Cut exact top-q% subsets and nested samples from the scores.

    Example: `clipsieve select --scores run/scores --out run --fraction 20 --fraction 40 --size 10M`

    DataComp's metadata selects as it is: `clipsieve select --scores metadata --score-column clip_l14_similarity_score
    --where "original_width >= 200" --combination top30_10M --out run`
    """
    from pipelines import select as room

    _say(out, room.run(scores, out, options, _beam_args(context), opt_out, filters, dedup).counts)


@stage(recipe.ReshardOptions, context_settings=BEAM)
def reshard(
    context: typer.Context,
    shards: Annotated[str, typer.Option(help="folder of shards")],
    subset: Annotated[str, typer.Option(help="a subset: .npy in DataComp's layout, or Parquet with uid")],
    out: Out,
    options: recipe.ReshardOptions,
    opt_out: OptOutList = None,
) -> None:
    """Write one subset as shards of its own, its members copied byte for byte.

    Example: `clipsieve reshard --shards run/shards --subset run/subsets/top40.npy --out run/resharded/top40`
    """
    from pipelines import reshard as room

    _say(out, room.run(shards, subset, out, options, _beam_args(context), opt_out).counts)


@stage(recipe.TrainOptions)
def train(
    shards: Annotated[str, typer.Option(help="folder of shards")],
    out: Out,
    options: recipe.TrainOptions,
    subset: Annotated[Optional[str], typer.Option(help="a subset of the shards; none: all of them")] = None,  # noqa: UP045
    opt_out: OptOutList = None,
) -> None:
    """Train a CLIP model on a subset of shards, without rewriting them.

    Example: `clipsieve train --shards run/shards --subset run/subsets/top40.npy --out run/models/top40`

    On several GPUs: `torchrun --nproc-per-node 8 -m training.train --shards …`, with the same flags.
    """
    from training import train as room

    _say(out, room.run(shards, subset, out, options, opt_out).counts)


@stage(recipe.EvaluateOptions)
def evaluate(
    model: Annotated[str, typer.Option(help="a model folder, or open_clip:MODEL@FILE")],
    out: Out,
    options: recipe.EvaluateOptions,
    data: Annotated[str, typer.Option(help="folder of task folders as CLIP_benchmark lays them out")] = "builtin",
) -> None:
    """Evaluate a model: zero-shot classification and image-text retrieval.

    Example: `clipsieve evaluate --model run/models/top40 --out run/evaluations/top40`
    """
    from evaluation import evaluate as room

    _say(out, room.run(model, data, out, options).counts)


@app.command()
def report(folder: Annotated[str, typer.Argument(help="a run's folder")]) -> None:
    """Write the run's report: one HTML file that needs no network.

    Example: `clipsieve report run`
    """
    from evaluation import report as room

    typer.echo(room.run(folder))


@app.command()
def verify(folder: Annotated[str, typer.Argument(help="a run's folder")], opt_out: OptOutList = None) -> None:
    """Prove that every input row ended once, and that every file holds what its manifest says.

    With an opt-out list, also that nothing which it names is in any of them.

    Example: `clipsieve verify run`
    """
    from pipelines import verify as room

    for check in room.run(folder, opt_out):
        typer.echo(f"ok  {check.what}: {check.detail}")


@app.command(context_settings=BEAM)
def run(
    context: typer.Context,
    recipe_file: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="the stages to run and their options")],
    out: Annotated[Optional[str], typer.Option(help="folder to write; default: the recipe's own")] = None,  # noqa: UP045
) -> None:
    """Run the stages that a recipe names, skipping what is done.

    Example: `clipsieve run recipe.yaml --out run`
    """
    chosen = recipe.load_recipe(recipe_file)
    opt_out = _beside(recipe_file, chosen.opt_out) if chosen.opt_out else None
    pairs = _beside(recipe_file, chosen.pairs)
    run_recipe(chosen, pairs, out or str(recipe_file.parent), _beam_args(context), opt_out)


@app.command()
def quickstart(
    out: Annotated[str, typer.Option(help="folder to write")] = "quickstart-run",
    port: Annotated[int, typer.Option(help="loopback port of the web server that serves the pairs")] = QUICKSTART_PORT,
) -> None:
    """Run every stage on the embedded openclipart pairs, offline, and write a report.

    Example: `clipsieve quickstart --out quickstart-run`
    """
    from pipelines import quickstart as room

    recipe_file = room.prepare(out, port)
    with room.serve_pairs(port):
        chosen = recipe.load_recipe(recipe_file)
        run_recipe(chosen, files.join(out, chosen.pairs), out, [])


def run_recipe(chosen: recipe.Recipe, pairs: str, out: str, beam_args: list[str], opt_out: str | None = None) -> None:
    """Run a recipe's stages in order, each into its folder under ``out``; a stage that is done returns at once."""
    shards, scores = files.join(out, "shards"), files.join(out, "scores")
    if chosen.download:
        from pipelines import download as downloading

        _say(shards, downloading.run(pairs, shards, chosen.download, beam_args, opt_out=opt_out).counts)
    if chosen.score:
        from pipelines import score as scoring

        _say(scores, scoring.run(shards, scores, chosen.score, beam_args, opt_out).counts)
    if chosen.select:
        from pipelines import select as selecting

        _say(out, selecting.run(scores, out, chosen.select, beam_args, opt_out).counts)
    for part in chosen.reshard:
        from pipelines import reshard as resharding

        folder = files.join(out, "resharded", part.subset)
        subset = _subset(out, part.subset)
        _say(folder, resharding.run(shards, subset, folder, part.options(), beam_args, opt_out).counts)
    for training_run in chosen.train:
        from training import train as trainer

        folder = files.join(out, "models", training_run.name)
        chosen_pairs = _subset(out, training_run.subset) if training_run.subset else None
        _say(folder, trainer.run(shards, chosen_pairs, folder, training_run.options(), opt_out).counts)
    if chosen.evaluate:
        from evaluation import evaluate as evaluating

        for training_run in chosen.train:
            model, folder = (files.join(out, kind, training_run.name) for kind in ("models", "evaluations"))
            _say(folder, evaluating.run(model, chosen.evaluate.data, folder, chosen.evaluate.options()).counts)
    if chosen.report:
        from evaluation import report as reporting

        page = reporting.run(out)
        rich.print(reporting.summary_table(out))
        typer.echo(page)


def _beside(recipe_file: Path, path: str) -> str:
    """A recipe's path: a relative one is looked up beside the recipe."""
    return path if "://" in path else str(recipe_file.parent / path)


def _subset(out: str, name: str) -> str:
    """The file of a subset or sample that `select` wrote under ``out``."""
    paths = [files.join(out, folder, f"{name}.npy") for folder in ("subsets", "samples")]
    for path in paths:
        if files.exists(path):
            return path
    raise InputError(f"recipe: subset {name!r} is not there ({' nor '.join(paths)}); name one that select writes")


def _beam_args(context: typer.Context) -> list[str]:
    """What follows ``--``. A stray word, which Beam would pass over in silence, is refused."""
    if context.args and not context.args[0].startswith("-"):
        raise InputError(f"{context.info_name}: unexpected {context.args[0]!r}; Beam's options follow --")
    return context.args


def _say(folder: str, counts: dict[str, int]) -> None:
    typer.echo(f"{folder}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))


def main() -> None:
    """Entry point: an error of ours is one line on stderr and its exit status, never a traceback (law 10)."""
    try:
        with signals_as_errors():
            app()
    except (ClipsieveError, SignalError) as error:
        typer.echo(f"clipsieve: {error}", err=True)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
