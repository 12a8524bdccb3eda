"""Whole runs: report, verify, explain, takedown; run and quickstart make one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import rich
import typer

from clipsieve import recipes
from clipsieve.app import app
from clipsieve.commands.dry_run import show_dry_run
from clipsieve.schemas.options.flags import BEAM, Devices, DryRun, Mfu, OptOutList, RunFolder, beam_args
from clipsieve.schemas.recipe import Recipe, load_recipe
from clipsieve.schemas.terminal import say

QUICKSTART_PORT = 18765


@app.command()
def report(folder: Annotated[str, typer.Argument(help="a run's folder")]) -> None:
    """Write the run's report: one HTML file that needs no network.

    Example: `clipsieve report run`
    """
    from clipsieve.evaluation.report import page as job

    say(job.run(folder))


@app.command()
def verify(folder: Annotated[str, typer.Argument(help="a run's folder")], opt_out: OptOutList = None) -> None:
    """Prove that every input row ended once, and that every file holds what its manifest says.

    With an opt-out list, also that nothing which it names is in any of them.

    Example: `clipsieve verify run`
    """
    from clipsieve.pipelines.verify import job

    for check in job.run(folder, opt_out):
        say(f"ok  {check.what}: {check.detail}")


@app.command()
def explain(
    uid: Annotated[str, typer.Argument(help="the pair: 32 hex digits")],
    run: RunFolder,
    image_out: Annotated[str | None, typer.Option(help="file to write its image to; default: a temporary one")] = None,
) -> None:
    """Tell where a pair came from, how it was judged, what holds it, and where its bytes lie.

    Example: `clipsieve explain 0123456789abcdef0123456789abcdef --run run`
    """
    from clipsieve.pipelines.explain import find as job
    from clipsieve.pipelines.explain.show import show

    rich.print(show(job.run(uid, run, image_out)))


@app.command()
def takedown(
    opt_out: Annotated[str, typer.Argument(metavar="LIST", help="file of uids, URLs and domains, one per line")],
    run: RunFolder,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what would be removed, and change nothing")] = False,
) -> None:
    """Remove the pairs that a list names from a run's shards, tables and subsets; its manifests record it.

    Example: `clipsieve takedown wishes.txt --run run --dry-run`
    """
    from clipsieve.pipelines.takedown import job
    from clipsieve.pipelines.takedown.show import show

    rich.print(show(job.run(run, opt_out, dry_run), run, dry_run))


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
        show_dry_run({training_run.name: training_run.options() for training_run in chosen.train}, devices, mfu)
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
    from clipsieve.pipelines.quickstart import inputs as job

    recipe_file = job.prepare(out, port)
    with job.serve_pairs(port):
        _run_recipe(load_recipe(recipe_file), out, [])


def _run_recipe(chosen: Recipe, out: str, beam: list[str]) -> None:
    for shown in recipes.run(chosen, out, beam):
        # Rich breaks lines at the terminal's width; those of text stay whole, for others to read.
        if isinstance(shown, str):
            say(shown)
        else:
            rich.print(shown)
