"""Trains a CLIP model on subsets of a shards folder, in one process or in those that torchrun starts.

Reads top to bottom: what a run is (`run`) and its loop (`_train`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext

import numpy as np
import torch

from clipsieve.schemas import files, strict_json
from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest, begin, read_manifest
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.checkpoint import CheckpointWriter, load_checkpoint, state_of
from clipsieve.training.cost.ledger import Cost, tower_cost
from clipsieve.training.data.loader import PairReader, load_batches
from clipsieve.training.data.side import SideTables, drop_side_tables, open_side_tables, side_inputs
from clipsieve.training.export import export_model
from clipsieve.training.initial import initial_model, refuse_untrained_lock
from clipsieve.training.job import Job, inputs_of, make_job, parse_subset
from clipsieve.training.log import Measure, StepValues, TrainLog
from clipsieve.training.optimizers import make_optimizer, schedule
from clipsieve.training.runtime import start_runtime, stop_requests
from clipsieve.training.scale import distribute
from clipsieve.training.step import Stepper
from clipsieve.training.strategies.registry import fit_tower, make_strategy
from clipsieve.training.towers.tower import load_tower

SIGTERM_STATUS = 143
"""Exit status of a run that SIGTERM stopped; its checkpoint is written."""
NOT_FINITE_NAME = "not_finite.jsonl"


def run(shards: str, subsets: Sequence[str], out: str, options: TrainOptions, opt_out: str | None = None) -> Manifest:
    """Train on the pairs of ``shards`` that the files ``subsets`` name (none: all) into the folder ``out``.

    Several subsets are mixed by weight: each is ``FILE=WEIGHT``. Pairs that the file ``opt_out`` lists are left out,
    and counted.

    A folder that an equal run completed is left as it is; one that it left half done is taken up at its
    checkpoint. Raises InputError, before step 0, for what the user can fix; ClipsieveError when the loss or a
    gradient is not finite, when a checkpoint cannot be written, and when another process is gone; SystemExit(143) on
    SIGTERM, once the checkpoint is written.
    """
    tower = fit_tower(load_tower(options.tower), options)
    refuse_untrained_lock(tower, options)
    chosen = [parse_subset(text) for text in subsets]
    inputs = inputs_of(shards, tower, opt_out, options.initial) | side_inputs(options)
    if read_manifest(out) and (manifest := begin(out, options, inputs, subsets=chosen)).complete:
        return manifest
    with start_runtime(options.collective_timeout, options.threads) as runtime:
        job = make_job(shards, chosen, out, options, tower, opt_out, inputs, runtime)
        torch.manual_seed(options.seed)
        strategy = make_strategy(options, tower, initial_model(tower, options.initial), runtime).to(runtime.device)
        trained = distribute(strategy.train(), options, runtime)
        optimizer = make_optimizer(strategy, options)
        with only_writer(out) if runtime.is_first else nullcontext():
            if runtime.is_first:
                begin(out, options, inputs, subsets=chosen)
            runtime.barrier()
            stepper = Stepper(strategy, trained, optimizer, options, tower.preprocess_cfg, runtime)
            cost, side = tower_cost(tower, options), open_side_tables(job.plan, out, options, runtime)
            seconds = _train(job, stepper, cost, side)
            manifest = export_model(job, strategy, cost, seconds, side)
            drop_side_tables(out, options)
            return manifest


def _train(job: Job, stepper: Stepper, cost: Cost, side: SideTables) -> float:
    """Take the steps that the checkpoint, if there is one, has not; returns the seconds of all of them."""
    options, runtime, steps = job.options, job.runtime, job.steps
    strategy, optimizer = stepper.strategy, stepper.optimizer
    progress = load_checkpoint(job.out, strategy, optimizer, job.origin, options.any_code)
    done = progress.steps
    measure = Measure(steps, options.batch_size, len(job.plan), cost.training_flops)
    log = TrainLog(job.out, runtime, measure, progress, options.tensorboard)
    reader = PairReader(job.order, job.tower, strategy.views, options.text_mask, side.captions, side.teacher)
    shares = (job.share(step) for step in range(done, steps))
    with (
        stop_requests() as stop,
        CheckpointWriter(job.out, job.origin, options.checkpoint_minutes) as writer,
        closing(load_batches(reader, shares, options.workers)) as batches,
    ):
        for batch in log.timed(batches):
            if done == progress.steps:
                log.introduce(job.tower.name, cost.parameters, sum(job.plan.missing))
            rate = _set_up_step(job, optimizer, done)
            result = stepper.take(batch, job.share(done))
            log.add(StepValues(result.losses, result.grad_norm, strategy.model.logit_scale.exp(), rate))
            done += 1
            stopping, is_due = runtime.any_of(stop.is_set(), runtime.is_first and writer.is_due)
            saving = done < steps and (stopping or is_due or done % options.checkpoint_steps == 0)
            logging = done == steps or done % options.log_steps == 0
            if (saving or logging) and (bad := log.settle()) is not None:
                raise _not_finite(job, reader, bad)
            if logging:
                log.report()
            if saving:
                state = state_of(strategy, optimizer, runtime.is_first)
                if runtime.is_first:
                    log.write()
                    writer.save(state, log.progress)
            if stopping and done < steps:
                writer.wait()
                raise SystemExit(SIGTERM_STATUS)
    if runtime.is_first:
        log.write()
    return log.progress.seconds


def _set_up_step(job: Job, optimizer: torch.optim.Optimizer, step: int) -> float:
    """Set what differs between steps: the learning rate, returned, and the random numbers that a tower may draw.

    Those (of dropped paths) are a function of the step, so a resumed run draws them as if not
    stopped.
    """
    options = job.options
    rate = options.peak_learning_rate * schedule(step, job.steps, options.warmup_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
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
