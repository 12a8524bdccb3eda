"""Trains a CLIP model on subsets of a shards folder, in one process or in those that torchrun starts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext

import torch

from clipsieve.schemas import files
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest, begin, read_manifest
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.bad_samples import BadSamples
from clipsieve.training.boards import open_boards
from clipsieve.training.checkpoint import folder_of, load_checkpoint
from clipsieve.training.cost.ledger import Cost, tower_cost
from clipsieve.training.data.loader import PairReader
from clipsieve.training.data.side import SideTables, drop_side_tables, open_side_tables, side_inputs
from clipsieve.training.export import export_model, refuse_checkpoints_model
from clipsieve.training.initial import initial_model, refuse_untrained_lock
from clipsieve.training.inspection import Evaluate, Inspection
from clipsieve.training.job import Job, inputs_of, lost_since_begun, make_job, nothing_left_if_refused, parse_subset
from clipsieve.training.log import Measure, TrainLog
from clipsieve.training.loop import TrainingLoop
from clipsieve.training.optimizers import make_optimizer
from clipsieve.training.runtime import start_runtime
from clipsieve.training.saving import CheckpointWriter
from clipsieve.training.scale import distribute
from clipsieve.training.step import Stepper
from clipsieve.training.stopping import stop_requests
from clipsieve.training.strategies.registry import fit_tower, make_strategy
from clipsieve.training.towers.tower import load_tower
from clipsieve.training.twins import take_twin
from clipsieve.training.validation import HeldOutPairs


def run(
    shards: str,
    subsets: Sequence[str],
    out: str,
    options: TrainOptions,
    opt_out: str | None = None,
    plan: str | None = None,
    evaluate: Evaluate | None = None,
    share: bool = False,
) -> Manifest:
    """Train on the pairs of ``shards`` that the files ``subsets`` name (none: all) into the folder ``out``.

    Several subsets are mixed by weight: each is ``FILE=WEIGHT``. Pairs that the file ``opt_out`` lists are left out,
    and counted. The folder ``plan`` holds the plan of all that, made by `clipsieve plan`; none: the run makes its own.
    ``evaluate`` is what evaluates the model on the tasks that ``options`` name.

    A folder that an equal run completed is left as it is; one that it left half done is taken up at its
    checkpoint. With ``share``, a run that is not begun takes the model of an equal one that is done in a folder beside
    its own. Raises InputError, before step 0, for what the user can fix; ClipsieveError when the loss or a
    gradient is not finite, when a checkpoint cannot be written, and when another process is gone; SignalError on
    SIGINT and SIGTERM, once a checkpoint is written (in processes but the first, SystemExit with its status).
    """
    tower = fit_tower(load_tower(options.tower), options)
    refuse_untrained_lock(tower, options)
    chosen = [parse_subset(text) for text in subsets]
    inputs = inputs_of(shards, tower, opt_out, options.initial) | side_inputs(options)
    lost = lost_since_begun(out, inputs, shards, chosen)
    if read_manifest(out) and (manifest := begin(out, options, inputs, lost, chosen)).complete:
        refuse_checkpoints_model(out, manifest)
        return manifest
    with start_runtime(options.collective_timeout, options.deterministic, options.threads) as runtime:
        if share and (shared := take_twin(out, options, inputs, chosen, tower, runtime)):
            return shared
        with nothing_left_if_refused(out):
            job = make_job(shards, chosen, out, options, tower, opt_out, inputs, runtime, plan)
            held_out = HeldOutPairs(shards, options.validation, chosen, opt_out) if options.validation else None
            torch.manual_seed(options.seed)
            strategy = make_strategy(options, tower, initial_model(tower, options.initial), runtime).to(runtime.device)
            trained = distribute(strategy.train(), options, runtime)
            optimizer = make_optimizer(strategy, options)
        with only_writer(out) if runtime.is_first else nullcontext():
            if runtime.is_first:
                begin(out, options, inputs, lost, chosen)
            runtime.barrier()
            stepper = Stepper(strategy, trained, optimizer, options, tower.preprocess_cfg, runtime)
            cost, side = tower_cost(tower, options), open_side_tables(job.plan, out, options, runtime)
            inspection = Inspection(job, evaluate, held_out) if options.evaluate_steps else None
            seconds, bad_samples = _train(job, shards, stepper, cost, side, inspection)
            manifest = export_model(job, strategy, cost, seconds, bad_samples, side)
            job.drop_cached()
            drop_side_tables(out, options)
            return manifest


def _train(
    job: Job, shards: str, stepper: Stepper, cost: Cost, side: SideTables, inspection: Inspection | None
) -> tuple[float, int]:
    """Take the steps that the checkpoint, if there is one, has not; returns the seconds of all of them, and how many
    samples could not be read."""
    options, runtime, strategy = job.options, job.runtime, stepper.strategy
    progress = load_checkpoint(job.out, strategy, stepper.optimizer, job.origin, options.any_code)
    measure = Measure(job.steps, options.batch_size, len(job.plan), cost.training_flops)
    boards = open_boards(job.out, options, progress.steps) if runtime.is_first else ()
    bad = BadSamples(job, shards, progress.steps)
    reader = PairReader(job.order, job.tower, strategy.views, options.text_mask, side, job.tar_cache)
    with (
        closing(TrainLog(job.out, runtime, measure, progress, boards)) as log,
        stop_requests(runtime.is_first) as stop,
        files.without_leftovers(folder_of(job.out)) if runtime.is_first else nullcontext(),
        CheckpointWriter(job.out, options.checkpoint_minutes, runtime.is_first) as writer,
    ):
        log.introduce(job.tower.name, cost.parameters, sum(job.plan.missing))
        TrainingLoop(job, cost, stepper, reader, bad, log, writer, stop, inspection, progress.steps).run()
    return log.progress.seconds, len(bad)
