"""What `train` and `run` print of a dry run."""

from __future__ import annotations

import rich
import rich.console

from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.terminal import say

DRY_RUN_WIDTH = 200


def show_dry_run(runs: dict[str, TrainOptions], devices: int, mfu: float) -> None:
    from clipsieve.training.cost.dry_run import dry_runs, table
    from clipsieve.training.cost.fits import memory_warnings

    worked_out = dry_runs(runs, devices)
    # A table of numbers is of no use cut: it keeps its width where the terminal has less, or there is none.
    rich.console.Console(width=max(rich.get_console().width, DRY_RUN_WIDTH)).print(table(worked_out, mfu))
    for line in memory_warnings(worked_out):
        say(line, is_error=True)
