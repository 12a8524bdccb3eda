"""The loop over a run's steps, and what follows each: a look at the model, the log, a checkpoint, the end.

All processes decide alike.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch

from clipsieve.schemas import files, strict_json
from clipsieve.schemas.errors import ClipsieveError, SignalError
from clipsieve.schemas.threads import map_ahead
from clipsieve.training.account import counts_of, ledger_of
from clipsieve.training.bad_samples import BadSamples
from clipsieve.training.checkpoint import CheckpointHeader
from clipsieve.training.cost.ledger import Cost
from clipsieve.training.data.loader import Batch, PairReader, load_batches
from clipsieve.training.inspection import Inspection
from clipsieve.training.job import Job
from clipsieve.training.log import StepValues, TrainLog
from clipsieve.training.optimizers import learning_rate, set_rate
from clipsieve.training.saving import CheckpointWriter
from clipsieve.training.step import Stepper
from clipsieve.training.stopping import StopRequests

NOT_FINITE_NAME = "not_finite.jsonl"


@dataclass(frozen=True)
class Due:
    """What follows a step."""

    look: bool
    report: bool
    save: bool
    stop: signal.Signals | None
    """The signal that asked for the run's end."""


@dataclass
class TrainingLoop:
    """Takes the steps of a run that are left."""

    job: Job
    cost: Cost
    stepper: Stepper
    reader: PairReader
    bad: BadSamples
    log: TrainLog
    writer: CheckpointWriter
    stop: StopRequests
    inspection: Inspection | None
    done: int
    """How many steps are."""

    def run(self) -> None:
        """Until the last step. Raises SignalError, or SystemExit in processes but the first, where a signal asked for
        the end, once a checkpoint is written; ClipsieveError for a loss that is not finite, a failed write and too
        many bad samples."""
        is_reserved = False
        with (
            self.job.shares(self.done) as shares,
            closing(load_batches(self.reader, shares, self.job.options.workers)) as batches,
            closing(map_ahead(self.stepper.strategy.draw_kept, self._positions(), 1)) as masks,
        ):
            for batch, kept in self.log.timed(zip(batches, masks, strict=True)):
                self._take(batch, kept)
                if not is_reserved:
                    self.writer.reserve(self.stepper.strategy, self.stepper.optimizer)
                    is_reserved = True
                self._follow(self._due())
        self.writer.wait()
        if self.job.runtime.is_first:
            self.log.writing()()
        self.bad.write()

    def save(self) -> None:
        """Begin to write the log and a checkpoint of the steps done, which were settled; every process calls it."""
        progress, counts = self.log.progress, counts_of(self.job, self.cost, self.done, len(self.bad), self.reader.side)
        self.bad.write()
        ledger = ledger_of(self.job, self.cost, counts, progress.seconds)
        header = CheckpointHeader(origin=self.job.origin, progress=progress, counts=counts, ledger=ledger)
        self.writer.save(self.stepper.strategy, self.stepper.optimizer, header, self.log.writing())

    def _positions(self) -> Iterator[range]:
        """This process's part of the positions of each step that is left."""
        return map(self.job.share, range(self.done, self.job.steps))

    def _take(self, batch: Batch, kept: torch.Tensor | None) -> None:
        if (refusal := self.bad.admit(batch.bad, self.done + 1)) is not None:
            if self.done and self.log.settle() is None:
                self.save()
            raise refusal
        rate = _set_up_step(self.job, self.stepper.optimizer, self.done)
        result = self.stepper.take(batch, kept)
        scale = self.stepper.strategy.model.logit_scale.exp()
        self.log.add(StepValues(result.losses, result.grad_norm, scale, rate))
        self.done += 1

    def _due(self) -> Due:
        options, is_last = self.job.options, self.done == self.job.steps
        runtime, stop = self.job.runtime, self.stop
        interrupted, terminated, is_late = runtime.any_of(
            stop.has(signal.SIGINT), stop.has(signal.SIGTERM), self.writer.is_due
        )
        asked = signal.SIGINT if interrupted else signal.SIGTERM if terminated else None
        is_saved = asked is not None or is_late or self.done % options.checkpoint_steps == 0
        look = asked is None and self.inspection is not None and self.inspection.is_due(self.done)
        return Due(
            look=look,
            report=look or is_last or self.done % options.log_steps == 0,
            save=is_saved and not is_last,
            stop=None if is_last else asked,
        )

    def _follow(self, due: Due) -> None:
        if (due.report or due.save) and (wrong := self.log.settle()) is not None:
            raise _not_finite(self.job, self.reader, wrong)
        found: dict[str, float] = {}
        if due.look and self.inspection is not None:
            with self.log.paused():
                found = self.inspection.look(self.stepper.strategy, self.done, self.stop)
        if due.report:
            self.log.report(len(self.bad), found)
        if due.save:
            self.save()
        if due.stop:
            self._end(due.stop)

    def _end(self, number: signal.Signals) -> NoReturn:
        """End the run with the signal's exit status once the checkpoint of this step is written; the first process
        says so, after which the others end too."""
        runtime, status = self.job.runtime, 128 + number
        self.writer.wait()
        runtime.barrier()
        if not runtime.is_first:
            raise SystemExit(status)
        raise SignalError(
            f"stopped by {number.name}: step {self.done:,} of {self.job.steps:,} is saved; the same command resumes "
            f"from step {self.done:,}",
            status,
        )


def _set_up_step(job: Job, optimizer: torch.optim.Optimizer, step: int) -> float:
    """Set what differs between steps: the learning rate, returned, and the random numbers that a tower may draw.

    Those (of dropped paths) are a function of the step, so a resumed run draws them as if not
    stopped.
    """
    options = job.options
    rate = learning_rate(options, step, job.steps)
    set_rate(optimizer, rate)
    draws = np.random.SeedSequence((options.seed, step, job.runtime.rank))
    torch.manual_seed(int(draws.generate_state(1)[0]))
    return rate


def _not_finite(job: Job, reader: PairReader, step: int) -> ClipsieveError:
    """The error for a step, from 0, whose loss or gradient is no number; its samples are listed in a file."""
    size = job.options.batch_size
    path = files.join(job.out, NOT_FINITE_NAME)
    if job.runtime.is_first:
        names = reader.names(range(step * size, (step + 1) * size))
        rows = [{"step": step + 1, "shard": files.name_of(tar), "key": key} for tar, key in names]
        files.write_bytes(path, "".join(strict_json.dumps(row) + "\n" for row in rows).encode())
    job.runtime.barrier()
    return ClipsieveError(
        f"{path}: the loss or its gradient is not finite at step {step + 1}; it lists that step's {size} samples; "
        "lower `learning_rate`, raise `warmup_steps` or train with `precision` fp32, in another folder"
    )
