"""Trains a CLIP model on a subset of a shards folder: ``python -m training.train``, or under torchrun.

Reads top to bottom: what a run is (`run`), its loop (`_train`), a step of it (`_step`) and what it leaves
behind.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import torch

from schemas import files
from schemas.errors import ClipsieveError, InputError
from schemas.manifest import Manifest, begin, finish, input_digest, read_manifest
from schemas.models import WEIGHTS_NAME, save_model
from schemas.opt_out import INPUT_NAME, OPTED_OUT, load_opt_out
from schemas.recipe import TrainOptions, parse_options
from training.checkpoint import drop_checkpoint, load_checkpoint, save_checkpoint
from training.data import Batch, PairReader, load_batches, normalise
from training.ledger import tower_cost
from training.log import StepValues, TrainLog
from training.losses import Loss, clamp_scale, clip_loss
from training.optimizers import clip_gradients, make_optimizer
from training.plan import SamplePlan, plan_samples
from training.runtime import Runtime, start_runtime, stop_requests
from training.schedule import schedule
from training.towers import ClipModel, Tower, build_model, load_tower

SIGTERM_STATUS = 143
"""Exit status of a run that SIGTERM stopped; its checkpoint is written."""


@dataclass(frozen=True)
class Job:
    """A run as it was decided before step 0."""

    options: TrainOptions
    tower: Tower
    plan: SamplePlan
    out: str
    runtime: Runtime

    @property
    def steps(self) -> int:
        """As many whole batches as the run's samples give."""
        return self.options.samples // self.options.batch_size

    def share(self, step: int) -> range:
        """This process's part of a step's positions in the stream of samples."""
        size = self.options.batch_size // self.runtime.world_size
        start = step * self.options.batch_size + self.runtime.rank * size
        return range(start, start + size)


def run(shards: str, subset: str | None, out: str, options: TrainOptions, opt_out: str | None = None) -> Manifest:
    """Train on the pairs of ``shards`` that the file ``subset`` names (None: all) into the folder ``out``.

    Pairs that the file ``opt_out`` lists are left out, and counted.

    A folder that an equal run completed is left as it is; one that it left half done is taken up at its
    checkpoint. Raises InputError, before step 0, for what the user can mend; ClipsieveError when the loss is
    not finite; SystemExit(143) on SIGTERM, once the checkpoint is written.
    """
    tower = load_tower(options.tower)
    recipe = {**options.model_dump(mode="json"), "subset": PurePosixPath(subset).stem if subset else None}
    inputs = {"shards": input_digest(shards), "tower": tower.digest, **load_opt_out(opt_out).inputs}
    if subset:
        inputs["subset"] = input_digest(subset)
    if read_manifest(out) is not None and (manifest := begin(out, "train", recipe, inputs)).complete:
        return manifest
    with start_runtime() as runtime:
        job = Job(options, tower, plan_samples(shards, subset, opt_out), out, runtime)
        _check(job, shards)
        torch.manual_seed(options.seed)
        model = build_model(tower).to(runtime.device)
        optimizer = make_optimizer(model, options)
        if runtime.is_first:
            begin(out, "train", recipe, inputs)
        runtime.barrier()
        manifest = begin(out, "train", recipe, inputs)
        _train(job, model, optimizer)
        return _finish(job, model, manifest)


def _check(job: Job, shards: str) -> None:
    options, batch = job.options, job.options.batch_size
    if len(job.plan) < batch:
        raise InputError(f"{shards}: {len(job.plan)} samples to train on, fewer than a batch_size of {batch}")
    if batch % job.runtime.world_size:
        raise InputError(f"batch_size {batch} does not divide by the run's {job.runtime.world_size} processes")
    if options.warmup_steps >= job.steps:
        raise InputError(
            f"warmup_steps {options.warmup_steps} is not below the run's {job.steps} steps (samples "
            f"{options.samples} at batch_size {batch}); lower it, or raise samples"
        )


def _train(job: Job, model: ClipModel, optimizer: torch.optim.Optimizer) -> None:
    """Take the steps that the checkpoint, if there is one, has not."""
    options, runtime, steps = job.options, job.runtime, job.steps
    done = load_checkpoint(job.out, model, optimizer)
    log = TrainLog(job.out, runtime, steps, options.batch_size, done)
    trained, loss = runtime.distribute(model.train()), clip_loss(runtime)
    reader = PairReader(job.plan, job.tower, options.augment, options.seed)
    shares = (job.share(step) for step in range(done, steps))
    with stop_requests() as stop, closing(load_batches(reader, shares, options.workers)) as batches:
        for batch in log.timed(batches):
            _set_up_step(job, optimizer, done)
            log.add(_step(job, trained, optimizer, loss, batch))
            clamp_scale(model)
            done += 1
            stopping = runtime.any(stop.is_set())
            saving = done < steps and (stopping or done % options.checkpoint_steps == 0)
            logging = done == steps or done % options.log_steps == 0
            if saving or logging:
                log.check()
            if logging:
                log.report()
            if saving and runtime.is_first:
                log.write()
                save_checkpoint(job.out, model, optimizer, done)
            if stopping and done < steps:
                raise SystemExit(SIGTERM_STATUS)
    if runtime.is_first:
        log.write()


def _set_up_step(job: Job, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Set what differs between steps: the learning rate, and the random numbers that a tower may draw.

    Those (of dropped paths or patches) are a function of the step, so a resumed run draws them as if not
    stopped.
    """
    options = job.options
    rate = options.learning_rate * schedule(step, job.steps, options.warmup_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    draws = np.random.SeedSequence((options.seed, step, job.runtime.rank))
    torch.manual_seed(int(draws.generate_state(1)[0]))


def _step(
    job: Job, model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss_of: Loss, batch: Batch
) -> StepValues:
    """Forward, backward, update."""
    device = job.runtime.device
    images = normalise(batch.images.to(device), job.tower.preprocess_cfg)
    with torch.autocast(device.type, torch.bfloat16, enabled=job.options.precision == "bf16"):
        image_features, text_features, scale = model(images, batch.texts.to(device))
    loss = loss_of(image_features.float(), text_features.float(), scale)
    optimizer.zero_grad()
    loss.backward()
    norm = clip_gradients(model, job.options.grad_clip)
    optimizer.step()
    return StepValues(loss.detach(), norm, scale.detach(), optimizer.param_groups[0]["lr"])


def _finish(job: Job, model: ClipModel, manifest: Manifest) -> Manifest:
    """Write the model folder and close it."""
    if job.runtime.is_first:
        cost, seen = tower_cost(job.tower), job.steps * job.options.batch_size
        counts = {
            "pairs": len(job.plan),
            **({OPTED_OUT: job.plan.opted_out} if INPUT_NAME in manifest.inputs else {}),
            "samples_seen": seen,
            "unique_samples": min(seen, len(job.plan)),
            "steps": job.steps,
            "parameters": cost.parameters,
            "image_macs": cost.image_macs,
            "text_macs": cost.text_macs,
        }
        save_model(job.out, model, job.tower.model_cfg, job.tower.preprocess_cfg)
        drop_checkpoint(job.out)
        finish(job.out, manifest, counts, files.sha256_file(files.join(job.out, WEIGHTS_NAME)))
    job.runtime.barrier()
    return begin(job.out, "train", manifest.recipe, manifest.inputs)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: every field of TrainOptions is an option; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.splitlines()[0])
    parser.add_argument("--shards", required=True, help="folder of shards")
    parser.add_argument("--subset", help="file of the uids to train on; none: every downloaded pair")
    parser.add_argument("--out", required=True, help="folder of the model")
    parser.add_argument("--opt-out", help="list of uids, URLs and domains that must not be used")
    for name, field in TrainOptions.model_fields.items():
        values = 2 if name == "betas" else None
        option = "--" + name.replace("_", "-")
        text = f"{field.description or name}; {field.default}".replace("%", "%%")
        parser.add_argument(option, default=argparse.SUPPRESS, nargs=values, help=text)
    given = vars(parser.parse_args(arguments))
    shards, subset, out, opt_out = (given.pop(name) for name in ("shards", "subset", "out", "opt_out"))
    try:
        run(shards, subset, out, parse_options(TrainOptions, given, "command line"), opt_out)
    except ClipsieveError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
