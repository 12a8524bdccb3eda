"""The command line: each command reads its options, calls one room and prints what came of it.

Every field of a stage's options (schemas/options) is a flag of its command. Beam's own options follow ``--``.
"""

from __future__ import annotations

import atexit
import gc
import sys
from pathlib import Path
from typing import Annotated

import rich
import rich.console
import typer

from clipsieve import recipes
from clipsieve.schemas import files
from clipsieve.schemas import options as stages
from clipsieve.schemas.errors import ClipsieveError, InputError, SignalError, signals_as_errors
from clipsieve.schemas.options.flags import (
    BEAM,
    Devices,
    DryRun,
    Mfu,
    OptOutList,
    Out,
    RunFolder,
    beam_args,
    with_flags,
)
from clipsieve.schemas.recipe import Recipe, load_recipe

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Turn a table of (URL, caption) rows into better CLIP models.",
)

QUICKSTART_PORT = 18765
DRY_RUN_WIDTH = 200


@app.command(context_settings=BEAM)
@with_flags(stages.DownloadOptions)
def download(
    context: typer.Context,
    pairs: Annotated[str, typer.Option(help="Parquet, CSV, TSV or JSONL with url and caption columns")],
    out: Out,
    options: stages.DownloadOptions,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="retry the retryable failures")] = False,
    opt_out: OptOutList = None,
) -> None:
    """Download pairs into shards that img2dataset's readers read.

    Example: `clipsieve download --pairs pairs.parquet --out run/shards -- --runner=DataflowRunner --project=mine`
    """
    from clipsieve.pipelines.download import job as room

    typer.echo(room.run(pairs, out, options, beam_args(context), retry_failed, opt_out).line(out))


@app.command(context_settings=BEAM)
@with_flags(stages.ScoreOptions)
def score(
    context: typer.Context,
    shards: Annotated[str, typer.Option(help="folder of shards, or of stored embeddings")],
    out: Out,
    options: stages.ScoreOptions,
    opt_out: OptOutList = None,
) -> None:
    """Score how well each image matches its caption, with one or more reference CLIPs.

    Example: `clipsieve score --shards run/shards --out run/scores --reference builtin`

    Embeddings that clip-retrieval wrote need no model: `clipsieve score --shards embeddings --out run/scores
    --reference stored`
    """
    from clipsieve.pipelines.score import job as room

    typer.echo(room.run(shards, out, options, beam_args(context), opt_out).line(out))


def _list_rules(asked: bool) -> None:
    if asked:
        from clipsieve.pipelines.filters.show import rules_table

        rich.print(rules_table())
        raise typer.Exit


@app.command(context_settings=BEAM)
@with_flags(stages.FilterOptions)
def filter(
    context: typer.Context,
    scores: Annotated[str, typer.Option(help="folder of Parquet files with uid, as `score` writes them")],
    out: Out,
    options: stages.FilterOptions,
    shards: Annotated[str | None, typer.Option(help="shards with columns that the scores lack")] = None,
    targets: Annotated[str | None, typer.Option(help="image_based: target embeddings, npy, npz or folder")] = None,
    list_rules: Annotated[bool, typer.Option("--list", is_eager=True, callback=_list_rules, help="list rules")] = False,
) -> None:
    """Say which pairs may be selected, by named rules and conditions, and why the others may not.

    Example: `clipsieve filter --shards run/shards --scores run/scores --out run/filters --rule basic --rule
    "weak: similarity >= 0.28"`
    """
    from clipsieve.pipelines.filters import job as room
    from clipsieve.pipelines.filters.show import waterfall_table

    typer.echo(room.run(scores, out, options, beam_args(context), shards, targets).line(out))
    rich.print(waterfall_table(out))


@app.command(context_settings=BEAM)
@with_flags(stages.DedupOptions)
def dedup(
    context: typer.Context,
    shards: Annotated[str, typer.Option(help="folder of shards, with hashes and images")],
    scores: Annotated[str, typer.Option(help="folder of score files, as `score` writes them")],
    out: Out,
    options: stages.DedupOptions,
    tasks: Annotated[str | None, typer.Option(help="tasks (wds_NAME) whose images no pair may repeat")] = None,
) -> None:
    """Say which pairs repeat a better scored one, or an image of an evaluation task.

    Example: `clipsieve dedup --shards run/shards --scores run/scores --out run/dedup --method exact --method thumbnail`
    """
    from clipsieve.pipelines.dedup import job as room

    typer.echo(room.run(shards, scores, out, options, beam_args(context), tasks).line(out))


@app.command(context_settings=BEAM)
@with_flags(stages.SelectOptions)
def select(
    context: typer.Context,
    scores: Annotated[str, typer.Option(help="folder of Parquet files with uid and a score, or one such file")],
    out: Annotated[str, typer.Option("--out", help="folder to write selection/, subsets/ and samples/ into")],
    options: stages.SelectOptions,
    opt_out: OptOutList = None,
    filters: Annotated[str | None, typer.Option(help="folder with reject_reason, as `filter` writes it")] = None,
    dedup: Annotated[str | None, typer.Option(help="folder with duplicate_of, as `dedup` writes it")] = None,
) -> None:
    """Cut exact top-q% subsets and nested samples from the scores.

    Example: `clipsieve select --scores run/scores --out run --fraction 20 --fraction 40 --size 10M`

    DataComp's metadata selects as it is: `clipsieve select --scores metadata --score-column clip_l14_similarity_score
    --where "original_width >= 200" --combination top30_10M --out run`
    """
    from clipsieve.pipelines.select import job as room

    typer.echo(room.run(scores, out, options, beam_args(context), opt_out, filters, dedup).line(out))


@app.command(context_settings=BEAM)
@with_flags(stages.ReshardOptions)
def reshard(
    context: typer.Context,
    shards: Annotated[str, typer.Option(help="folder of shards")],
    subset: Annotated[str, typer.Option(help="subset file: DataComp's .npy, Parquet with uid, or .txt of uids")],
    out: Out,
    options: stages.ReshardOptions,
    opt_out: OptOutList = None,
) -> None:
    """Write one subset as shards of its own, its members copied byte for byte.

    Example: `clipsieve reshard --shards run/shards --subset run/subsets/top40.npy --out run/resharded/top40`
    """
    from clipsieve.pipelines.reshard import job as room

    typer.echo(room.run(shards, subset, out, options, beam_args(context), opt_out).line(out))


@app.command()
@with_flags(stages.TokenizerOptions)
def tokenizer(
    out: Out,
    options: stages.TokenizerOptions,
    shards: Annotated[str | None, typer.Option(help="folder of shards whose captions to train on")] = None,
    pairs: Annotated[str | None, typer.Option(help="Parquet file or folder with a caption column")] = None,
) -> None:
    """Train a SentencePiece model on a pool's captions.

    Example: `clipsieve tokenizer --shards run/shards --out run/tokenizer --vocab-size 32000`, then `clipsieve train
    --tokenizer run/tokenizer/spiece.model …`
    """
    from clipsieve.pipelines.pairs.table import iter_captions
    from clipsieve.training import tokenizer as room

    if (shards is None) == (pairs is None):
        raise InputError("tokenizer: give --shards or --pairs, one of them")
    if shards:
        manifest = room.run(room.shard_captions(shards), {"shards": shards}, out, options)
    else:
        manifest = room.run(iter_captions(str(pairs)), {"pairs": str(pairs)}, out, options)
    typer.echo(manifest.line(out))


@app.command()
@with_flags(stages.TrainOptions)
def train(
    shards: Annotated[str, typer.Option(help="folder of shards")],
    out: Out,
    options: stages.TrainOptions,
    subset: Annotated[list[str] | None, typer.Option(help="subset file, or FILE=WEIGHT to mix; default: all")] = None,
    opt_out: OptOutList = None,
    dry_run: DryRun = False,
    devices: Devices = 8,
    mfu: Mfu = 0.4,
) -> None:
    """Train a CLIP model on a subset of shards, without rewriting them.

    Example: `clipsieve train --shards run/shards --subset run/subsets/top40.npy --out run/models/top40`

    On several GPUs, with the same flags: `torchrun --nproc-per-node 8 --no-python clipsieve train …`

    What a run would take there, without reading anything: `clipsieve train … --dry-run --devices 8`
    """
    if dry_run:
        _show_dry_run({files.name_of(out): options}, devices, mfu)
        return
    from clipsieve.training import train as room

    typer.echo(room.run(shards, subset or (), out, options, opt_out).line(out))


@app.command()
def towers() -> None:
    """List the towers that come with clipsieve, with their parameters and multiply-accumulates (MAC).

    Example: `clipsieve towers`
    """
    from clipsieve.training.cost.towers import towers_table

    typer.echo(towers_table())


@app.command()
@with_flags(stages.EvaluateOptions)
def evaluate(
    options: stages.EvaluateOptions,
    model: Annotated[str | None, typer.Option(help="a model folder, or open_clip:MODEL@FILE")] = None,
    out: Annotated[str | None, typer.Option("--out", help="folder to write")] = None,
    data: Annotated[str, typer.Option(help="folder of tasks: wds_NAME, folders of classes, Parquet")] = "builtin",
    cache: Annotated[str | None, typer.Option(help="folder of image features to share; default: OUT/features")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="list what each task needs and where to get it")] = False,
) -> None:
    """Evaluate a model: zero-shot, few-shot and linear-probe classification, multilabel, image-text retrieval.

    Example: `clipsieve evaluate --model run/models/top40 --data tasks --tasks imagenet-a,cifar10 --out results`

    What is there: `clipsieve evaluate --list --data tasks`

    On several GPUs, with the same flags: `torchrun --nproc-per-node 8 --no-python clipsieve evaluate …`
    """
    from clipsieve.evaluation import evaluate as room
    from clipsieve.evaluation.datasets.listing import task_lines

    if show_list:
        typer.echo("\n".join(task_lines(data)))
        return
    if not model or not out:
        raise InputError("evaluate: --model and --out are needed, or --list")
    typer.echo(room.run(model, data, out, options, cache).line(out))


@app.command()
def compare(
    folders: Annotated[list[str], typer.Argument(help="evaluations; the first is the baseline; A1,A2: seeds of one")],
    page: Annotated[str | None, typer.Option(help="HTML file with plots to write")] = None,
) -> None:
    """Compare evaluated models sample by sample: differences with intervals and p-values.

    Four models or more of known training compute also give scaling fits, and on ImageNet effective robustness.

    Example: `clipsieve compare run/evaluations/all run/evaluations/top40 --page compare.html`
    """
    from clipsieve.evaluation.compare.page import write_page
    from clipsieve.evaluation.compare.run import compare as compared
    from clipsieve.evaluation.compare.show import comparison_tables

    found = compared(folders)
    for table in comparison_tables(found):
        rich.print(table)
    if page:
        write_page(found, page)
        typer.echo(page)


@app.command()
def report(folder: Annotated[str, typer.Argument(help="a run's folder")]) -> None:
    """Write the run's report: one HTML file that needs no network.

    Example: `clipsieve report run`
    """
    from clipsieve.evaluation.report import page as room

    typer.echo(room.run(folder))


@app.command()
def verify(folder: Annotated[str, typer.Argument(help="a run's folder")], opt_out: OptOutList = None) -> None:
    """Prove that every input row ended once, and that every file holds what its manifest says.

    With an opt-out list, also that nothing which it names is in any of them.

    Example: `clipsieve verify run`
    """
    from clipsieve.pipelines.verify import job as room

    for check in room.run(folder, opt_out):
        typer.echo(f"ok  {check.what}: {check.detail}")


@app.command()
def explain(
    uid: Annotated[str, typer.Argument(help="the pair: 32 hex digits")],
    run: RunFolder,
    image_out: Annotated[str | None, typer.Option(help="file to write its image to; default: a temporary one")] = None,
) -> None:
    """Tell where a pair came from, how it was judged, what holds it, and where its bytes lie.

    Example: `clipsieve explain 0123456789abcdef0123456789abcdef --run run`
    """
    from clipsieve.pipelines.explain import find as room
    from clipsieve.pipelines.explain.show import show

    rich.print(show(room.run(uid, run, image_out)))


@app.command()
def takedown(
    opt_out: Annotated[str, typer.Argument(metavar="LIST", help="file of uids, URLs and domains, one per line")],
    run: RunFolder,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what would be removed, and change nothing")] = False,
) -> None:
    """Remove the pairs that a list names from a run's shards, tables and subsets; its manifests record it.

    Example: `clipsieve takedown wishes.txt --run run --dry-run`
    """
    from clipsieve.pipelines.takedown import job as room
    from clipsieve.pipelines.takedown.show import show

    rich.print(show(room.run(run, opt_out, dry_run), run, dry_run))


@app.command(context_settings=BEAM)
def run(
    context: typer.Context,
    recipe_file: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="the stages to run and their options")],
    out: Annotated[str | None, typer.Option(help="folder to write; default: the recipe's own")] = None,
    dry_run: DryRun = False,
    devices: Devices = 8,
    mfu: Mfu = 0.4,
) -> None:
    """Run the stages that a recipe names, skipping what is done.

    Example: `clipsieve run recipe.yaml --out run`

    What its training runs would take on 64 GPUs: `clipsieve run recipe.yaml --dry-run --devices 64`
    """
    chosen = load_recipe(recipe_file)
    if dry_run:
        _show_dry_run({training_run.name: training_run.options() for training_run in chosen.train}, devices, mfu)
        return
    _run_recipe(chosen, out or str(recipe_file.parent), beam_args(context))


@app.command()
def quickstart(
    out: Annotated[str, typer.Option(help="folder to write")] = "quickstart-run",
    port: Annotated[int, typer.Option(help="loopback port of the web server that serves the pairs")] = QUICKSTART_PORT,
) -> None:
    """Run every stage on the embedded openclipart pairs, offline, and write a report.

    Example: `clipsieve quickstart --out quickstart-run`
    """
    from clipsieve.pipelines.quickstart import inputs as room

    recipe_file = room.prepare(out, port)
    with room.serve_pairs(port):
        _run_recipe(load_recipe(recipe_file), out, [])


def _run_recipe(chosen: Recipe, out: str, beam: list[str]) -> None:
    for shown in recipes.run(chosen, out, beam):
        # Rich breaks lines at the terminal's width; those of text stay whole, for others to read.
        (typer.echo if isinstance(shown, str) else rich.print)(shown)


def _show_dry_run(runs: dict[str, stages.TrainOptions], devices: int, mfu: float) -> None:
    from clipsieve.training.cost.dry_run import dry_runs, table

    # A table of numbers is of no use cut: it keeps its width where the terminal has less, or there is none.
    rich.console.Console(width=max(rich.get_console().width, DRY_RUN_WIDTH)).print(table(dry_runs(runs, devices), mfu))


def main() -> None:
    """Entry point: an error of ours is one line on stderr and its exit status, never a traceback (law 10)."""
    atexit.register(gc.freeze)  # or Python looks for garbage in all that was imported before it ends: 0.3 s
    try:
        with signals_as_errors():
            app()
    except (ClipsieveError, SignalError) as error:
        typer.echo(f"clipsieve: {error}", err=True)
        sys.exit(error.exit_status)
