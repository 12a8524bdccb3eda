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
import rich.console
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
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what training would take, by arithmetic, and end")]
Devices = Annotated[int, typer.Option(min=1, help="of a dry run: devices that share a step's batch")]
Mfu = Annotated[float, typer.Option(min=0.01, max=1, help="of a dry run: share of a device's peak FLOP/s that is used")]
QUICKSTART_PORT = 18765
DRY_RUN_WIDTH = 200
BEAM = {"allow_extra_args": True, "ignore_unknown_options": False}


def stage(options_model: type[recipe.Options], **settings: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose flags are its own parameters and every field of ``options_model``.

    The function gets them as one validated ``options``. A field that holds several values is a flag in the singular
    that may be repeated, ``fractions`` is ``--fraction 20 --fraction 40``, unless the field names its flag itself.
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
    spelling = (field.json_schema_extra or {}).get("flag") or "--" + (name[:-1] if is_many else name).replace("_", "-")
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
    shards: Annotated[
        str, typer.Option(help="folder of shards, ours, img2dataset's or DataComp's; of stored embeddings")
    ],
    out: Out,
    options: recipe.ScoreOptions,
    opt_out: OptOutList = None,
) -> None:
    """Score how well each image matches its caption, with one or more reference CLIPs.

    Example: `clipsieve score --shards run/shards --out run/scores --reference builtin`

    Embeddings that clip-retrieval wrote need no model: `clipsieve score --shards embeddings --out run/scores
    --reference stored`
    """
    from pipelines import score as room

    _say(out, room.run(shards, out, options, _beam_args(context), opt_out).counts)


def _list_rules(asked: bool) -> None:
    if asked:
        from pipelines import filters as room

        rich.print(room.rules_table())
        raise typer.Exit


@stage(recipe.FilterOptions, context_settings=BEAM)
def filter(
    context: typer.Context,
    scores: Annotated[str, typer.Option(help="folder of Parquet files with uid, as score writes them")],
    out: Out,
    options: recipe.FilterOptions,
    shards: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="folder of shards, where captions, sizes and hashes are that the scores lack"),
    ] = None,
    targets: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="embeddings of a target set for image_based: an npy, an npz or a folder of them"),
    ] = None,
    list_rules: Annotated[
        bool, typer.Option("--list", is_eager=True, callback=_list_rules, help="show the named rules and end")
    ] = False,
) -> None:
    """Say which pairs may be selected, by named rules and conditions, and why the others may not.

    Example: `clipsieve filter --shards run/shards --scores run/scores --out run/filters --rule basic --rule
    "weak: similarity >= 0.28"`
    """
    from pipelines import filters as room

    _say(out, room.run(scores, out, options, _beam_args(context), shards, targets).counts)
    rich.print(room.waterfall_table(out))


@stage(recipe.DedupOptions, context_settings=BEAM)
def dedup(
    context: typer.Context,
    shards: Annotated[str, typer.Option(help="folder of shards, where hashes and images are")],
    scores: Annotated[str, typer.Option(help="folder of score files, as score writes them")],
    out: Out,
    options: recipe.DedupOptions,
    tasks: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="folder of evaluation tasks (wds_NAME) whose images no pair may repeat"),
    ] = None,
) -> None:
    """Say which pairs repeat a better scored one, or an image of an evaluation task.

    Example: `clipsieve dedup --shards run/shards --scores run/scores --out run/dedup --method exact --method thumbnail`
    """
    from pipelines import dedup as room

    _say(out, room.run(shards, scores, out, options, _beam_args(context), tasks).counts)


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
    subset: Annotated[str, typer.Option(help="a subset: DataComp's .npy, Parquet with uid, or .txt of uids")],
    out: Out,
    options: recipe.ReshardOptions,
    opt_out: OptOutList = None,
) -> None:
    """Write one subset as shards of its own, its members copied byte for byte.

    Example: `clipsieve reshard --shards run/shards --subset run/subsets/top40.npy --out run/resharded/top40`
    """
    from pipelines import reshard as room

    _say(out, room.run(shards, subset, out, options, _beam_args(context), opt_out).counts)


@stage(recipe.TokenizerOptions)
def tokenizer(
    out: Out,
    options: recipe.TokenizerOptions,
    shards: Annotated[Optional[str], typer.Option(help="folder of shards: the captions of what was downloaded")] = None,  # noqa: UP045
    pairs: Annotated[Optional[str], typer.Option(help="Parquet file, or folder of them, with a caption column")] = None,  # noqa: UP045
) -> None:
    """Train a SentencePiece model on a pool's captions.

    Example: `clipsieve tokenizer --shards run/shards --out run/tokenizer --vocab-size 32000`, then `clipsieve train
    --tokenizer run/tokenizer/spiece.model …`
    """
    from pipelines.pairs import iter_captions
    from training import tokenizer as room

    if (shards is None) == (pairs is None):
        raise InputError("tokenizer: give --shards or --pairs, one of them")
    if shards:
        manifest = room.run(room.shard_captions(shards), {"shards": shards}, out, options)
    else:
        manifest = room.run(iter_captions(str(pairs)), {"pairs": str(pairs)}, out, options)
    _say(out, manifest.counts)


@stage(recipe.TrainOptions)
def train(
    shards: Annotated[str, typer.Option(help="folder of shards")],
    out: Out,
    options: recipe.TrainOptions,
    subset: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="a subset of the shards, or FILE=WEIGHT, repeated, to mix several; none: all of them"),
    ] = None,
    opt_out: OptOutList = None,
    dry_run: DryRun = False,
    devices: Devices = 8,
    mfu: Mfu = 0.4,
) -> None:
    """Train a CLIP model on a subset of shards, without rewriting them.

    Example: `clipsieve train --shards run/shards --subset run/subsets/top40.npy --out run/models/top40`

    On several GPUs: `torchrun --nproc-per-node 8 -m training.train --shards …`, with the same flags. What a run would
    take there, before anything is read: `clipsieve train … --dry-run --devices 8`
    """
    if dry_run:
        _show_dry_run({files.name_of(out): options}, devices, mfu)
        return
    from training import train as room

    _say(out, room.run(shards, subset or (), out, options, opt_out).counts)


@app.command()
def towers() -> None:
    """List the towers that come with clipsieve, with their parameters and multiply-accumulates (MAC).

    Example: `clipsieve towers`
    """
    from training.towers.table import towers_table

    typer.echo(towers_table())


@stage(recipe.EvaluateOptions)
def evaluate(
    options: recipe.EvaluateOptions,
    model: Annotated[Optional[str], typer.Option(help="a model folder, or open_clip:MODEL@FILE")] = None,  # noqa: UP045
    out: Annotated[Optional[str], typer.Option("--out", help="folder to write")] = None,  # noqa: UP045
    data: Annotated[str, typer.Option(help="folder of tasks: wds_NAME, folders of classes, Parquet")] = "builtin",
    cache: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="folder of image features that other evaluations may share; default: features/ in --out"),
    ] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="say what each task needs, whether --data has it, and where to get it")
    ] = False,
) -> None:
    """Evaluate a model: zero-shot, few-shot and linear-probe classification, multilabel, image-text retrieval.

    Example: `clipsieve evaluate --model run/models/top40 --data tasks --tasks imagenet-a,cifar10 --out results`

    `clipsieve evaluate --list --data tasks` says what is there. On several GPUs: `torchrun --nproc-per-node 8
    -m clipsieve evaluate …`, with the same flags.
    """
    from evaluation import evaluate as room
    from evaluation.listing import task_table

    if show_list:
        rich.print(task_table(data))
        return
    if not model or not out:
        raise InputError("evaluate: --model and --out are needed, or --list")
    _say(out, room.run(model, data, out, options, cache).counts)


@app.command()
def compare(
    folders: Annotated[
        list[str],
        typer.Argument(help="evaluation folders, the first is what the others are compared with; A1,A2: seeds of one"),
    ],
    page: Annotated[Optional[str], typer.Option(help="file of a page with plots to write")] = None,  # noqa: UP045
) -> None:
    """Compare evaluated models sample by sample: differences with intervals and p-values.

    Four models or more of known training compute also give scaling fits, and on ImageNet effective robustness.

    Example: `clipsieve compare run/evaluations/all run/evaluations/top40 --page compare.html`
    """
    from evaluation import compare as room

    found = room.compare(folders)
    for table in room.comparison_tables(found):
        rich.print(table)
    if page:
        room.write_page(found, page)
        typer.echo(page)


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


RunFolder = Annotated[str, typer.Option("--run", help="a run's folder")]


@app.command()
def explain(
    uid: Annotated[str, typer.Argument(help="the pair: 32 hex digits")],
    run: RunFolder,
    image_out: Annotated[Optional[str], typer.Option(help="file for its picture; none: a temporary one")] = None,  # noqa: UP045
) -> None:
    """Tell where a pair came from, how it was judged, what holds it, and where its bytes lie.

    Example: `clipsieve explain 0123456789abcdef0123456789abcdef --run run`
    """
    from pipelines import explain as room
    from pipelines.show_explained import show

    rich.print(show(room.run(uid, run, image_out)))


@app.command()
def takedown(
    opt_out: Annotated[str, typer.Argument(metavar="LIST", help="uids, URLs and domains, one a line")],
    run: RunFolder,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, and change nothing")] = False,
) -> None:
    """Remove the pairs that a list names from a run's shards, tables and subsets; its manifests record it.

    Example: `clipsieve takedown wishes.txt --run run --dry-run`
    """
    from pipelines import takedown as room
    from pipelines.takedown.show import show

    rich.print(show(room.run(run, opt_out, dry_run), run, dry_run))


@app.command(context_settings=BEAM)
def run(
    context: typer.Context,
    recipe_file: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="the stages to run and their options")],
    out: Annotated[Optional[str], typer.Option(help="folder to write; default: the recipe's own")] = None,  # noqa: UP045
    dry_run: DryRun = False,
    devices: Devices = 8,
    mfu: Mfu = 0.4,
) -> None:
    """Run the stages that a recipe names, skipping what is done.

    Example: `clipsieve run recipe.yaml --out run`

    What its training runs would take on 64 GPUs: `clipsieve run recipe.yaml --dry-run --devices 64`
    """
    chosen = recipe.load_recipe(recipe_file)
    if dry_run:
        _show_dry_run({training_run.name: training_run.options() for training_run in chosen.train}, devices, mfu)
        return
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
    filters = files.join(out, "filters") if chosen.filter else None
    if chosen.filter and filters:
        from pipelines import filters as filtering

        options, targets = chosen.filter.options(), chosen.filter.targets
        _say(filters, filtering.run(scores, filters, options, beam_args, shards, targets).counts)
        rich.print(filtering.waterfall_table(filters))
    repeats = files.join(out, "dedup") if chosen.dedup else None
    if chosen.dedup and repeats:
        from pipelines import dedup as deduplicating

        tasks = chosen.dedup.tasks
        _say(repeats, deduplicating.run(shards, scores, repeats, chosen.dedup.options(), beam_args, tasks).counts)
    if chosen.select:
        from pipelines import select as selecting

        _say(out, selecting.run(scores, out, chosen.select, beam_args, opt_out, filters, repeats).counts)
    for part in chosen.reshard:
        from pipelines import reshard as resharding

        folder = files.join(out, "resharded", part.subset)
        subset = _subset(out, part.subset)
        _say(folder, resharding.run(shards, subset, folder, part.options(), beam_args, opt_out).counts)
    if chosen.tokenizer:
        from training import tokenizer as tokenizing

        folder = files.join(out, "tokenizer")
        _say(
            folder,
            tokenizing.run(tokenizing.shard_captions(shards), {"shards": shards}, folder, chosen.tokenizer).counts,
        )
    for training_run in chosen.train:
        from training import train as trainer

        folder = files.join(out, "models", training_run.name)
        subsets = [_subset(out, name) + weight for name, weight in training_run.weighted_subsets()]
        _say(folder, trainer.run(shards, subsets, folder, _train_options(chosen, training_run, out), opt_out).counts)
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


def _show_dry_run(runs: dict[str, recipe.TrainOptions], devices: int, mfu: float) -> None:
    from training.dry_run import dry_run, table

    worked_out = {}
    for name, options in runs.items():
        try:
            worked_out[name] = dry_run(options, devices)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    # A table of numbers is of no use cut: it keeps its width where the terminal has less, or there is none.
    rich.console.Console(width=max(rich.get_console().width, DRY_RUN_WIDTH)).print(table(worked_out, mfu))


def _train_options(chosen: recipe.Recipe, training_run: recipe.TrainStage, out: str) -> recipe.TrainOptions:
    """A run's options with the paths under ``out`` of what the recipe's stages before it made."""
    made: dict[str, Any] = {}
    if training_run.initial in {other.name for other in chosen.train}:
        made["initial"] = files.join(out, "models", str(training_run.initial))
    if chosen.tokenizer:
        made["tokenizer"] = files.join(out, "tokenizer", "spiece.model")
        made["canonicalize"] = chosen.tokenizer.canonicalize
    return training_run.options().model_copy(update=made)


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
