"""From subsets to evaluated models: tokenizer, train, towers, evaluate, compare."""

from __future__ import annotations

from typing import Annotated

import rich
import typer

from clipsieve.app import app
from clipsieve.commands.dry_run import show_dry_run
from clipsieve.schemas import files
from clipsieve.schemas import options as stages
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options.flags import Devices, DryRun, Mfu, OptOutList, Out, with_flags
from clipsieve.schemas.terminal import say


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
    from clipsieve.training import tokenizer as job

    if (shards is None) == (pairs is None):
        raise InputError("tokenizer: give --shards or --pairs, one of them")
    if shards:
        manifest = job.run(job.shard_captions(shards), {"shards": shards}, out, options)
    else:
        manifest = job.run(iter_captions(str(pairs)), {"pairs": str(pairs)}, out, options)
    say(manifest.line(out))


@app.command()
@with_flags(stages.PlanOptions)
def plan(
    shards: Annotated[str, typer.Option(help="folder of shards")],
    out: Out,
    options: stages.PlanOptions,
    subset: Annotated[list[str] | None, typer.Option(help="subset file; may be repeated; default: all")] = None,
    opt_out: OptOutList = None,
) -> None:
    """Write where the samples of training runs lie into a local folder, for `train --plan`, once for all of the runs.

    Example: `clipsieve plan --shards run/shards --subset run/subsets/top40.npy --out run/plans/top40`, then `clipsieve
    train --plan run/plans/top40 …`
    """
    from clipsieve.training.data import plan as job

    header = job.run(shards, subset or (), out, options, opt_out)
    say(f"{out}: samples {header.rows:,}, shards {len(header.shards):,}, missing {sum(header.missing):,}")


@app.command()
@with_flags(stages.TrainOptions)
def train(
    shards: Annotated[str, typer.Option(help="folder of shards")],
    out: Out,
    options: stages.TrainOptions,
    subset: Annotated[list[str] | None, typer.Option(help="subset file, or FILE=WEIGHT to mix; default: all")] = None,
    opt_out: OptOutList = None,
    plan: Annotated[
        str | None, typer.Option(help="folder of a plan that `clipsieve plan` made; default: the run makes its own")
    ] = None,
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
        show_dry_run({files.name_of(out): options}, devices, mfu)
        return
    from clipsieve.evaluation.in_training import task_evaluator
    from clipsieve.training import train as job

    evaluate = task_evaluator(options.evaluate_tasks)
    say(job.run(shards, subset or (), out, options, opt_out, plan, evaluate).line(out))


@app.command()
def export(
    run: Annotated[str, typer.Argument(metavar="FOLDER", help="the folder of a training run: the --out of `train`")],
    out: Out,
    step: Annotated[int | None, typer.Option(min=1, help="step of the checkpoint; default: the last one")] = None,
) -> None:
    """Make a model of a checkpoint, also while its training goes on.

    Example: `clipsieve export run/models/top40 --step 5000 --out run/models/top40-5000`
    """
    from clipsieve.training.export import export_checkpoint

    say(export_checkpoint(run, out, step).line(out))


@app.command()
def towers() -> None:
    """List the towers that come with clipsieve, with their parameters and multiply-accumulates (MAC).

    Example: `clipsieve towers`
    """
    from clipsieve.training.cost.towers import towers_table

    say(towers_table())


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
    from clipsieve.evaluation import evaluate as job
    from clipsieve.evaluation.datasets.listing import task_lines

    if show_list:
        say("\n".join(task_lines(data)))
        return
    if not model or not out:
        raise InputError("evaluate: --model and --out are needed, or --list")
    say(job.run(model, data, out, options, cache).line(out))


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
        say(page)
