"""The training runs of a recipe as commands, and how many of them run at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from clipsieve.schemas.manifest import Manifest, read_manifest
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.options.flags import arguments_of
from clipsieve.schemas.threads import cores
from clipsieve.side_by_side import Invocation, run_side_by_side


@dataclass(frozen=True)
class TrainingRun:
    """What `clipsieve train` is called with."""

    name: str
    shards: str
    subsets: tuple[str, ...]
    """Each as FILE or FILE=WEIGHT."""
    out: str
    options: TrainOptions
    opt_out: str | None
    after: str | None
    """The name of the cell that has to be done before."""

    def run(self) -> Manifest:
        """Train in this process; returns at once where it is done."""
        from clipsieve.evaluation.in_training import task_evaluator
        from clipsieve.training import train

        evaluate = task_evaluator(self.options.evaluate_tasks)
        return train.run(self.shards, self.subsets, self.out, self.options, self.opt_out, evaluate=evaluate, share=True)

    @property
    def is_done(self) -> bool:
        made = read_manifest(self.out)
        return made is not None and made.complete

    @property
    def content(self) -> str:
        """What decides the weights, as far as it is known before the cells before it are done."""
        chosen = self.options.model_dump_json(exclude=set(self.options.may_change) - {"initial", "teacher", "texts"})
        return " ".join((chosen, *self.subsets))

    @property
    def task(self) -> Invocation:
        inputs = [f"--shards={self.shards}", f"--out={self.out}", *(f"--subset={subset}" for subset in self.subsets)]
        opt_out = [f"--opt-out={self.opt_out}"] if self.opt_out else []
        return Invocation(self.name, ("train", *inputs, *opt_out, *arguments_of(self.options)), self.after)


def train_side_by_side(cells: Sequence[TrainingRun], jobs: int | None) -> None:
    """Train the cells that are not done, ``jobs`` at a time, each in a process of its own; None: one for each core.

    Of cells that train alike the first alone, whose model the others take; but for one that another cell begins from.
    """
    begun_from, chosen = {cell.after for cell in cells}, dict[str, TrainingRun]()
    for cell in cells:
        chosen.setdefault(cell.name if cell.name in begun_from else cell.content, cell)
    run_side_by_side([cell.task for cell in chosen.values() if not cell.is_done], jobs or cores())


def may_run_side_by_side(stages: Sequence[TrainOptions]) -> bool:
    """Whether these runs are several, on a CPU, of one process each."""
    import torch

    return len(stages) > 1 and not torch.cuda.is_available() and int(os.environ.get("WORLD_SIZE", 1)) == 1
