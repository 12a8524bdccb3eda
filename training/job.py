"""A run as it is decided before step 0: its samples and their order, its steps, and what makes it this run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import input_digest, read_manifest, weighted_subset
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.tokenizer import pieces_digest
from clipsieve.schemas.training_data import WeightedSubset, mixture, subset_digests
from clipsieve.training.checkpoint import RunOrigin
from clipsieve.training.data.order import SampleOrder, make_order
from clipsieve.training.data.plan import SamplePlan, plan_samples
from clipsieve.training.initial import initial_digest
from clipsieve.training.runtime import Runtime
from clipsieve.training.towers.tower import Tower

_ROOT = Path(__file__).parents[1]
_CODE = ("training", "schemas")


@dataclass(frozen=True)
class Job:
    """A run."""

    options: TrainOptions
    tower: Tower
    order: SampleOrder
    out: str
    runtime: Runtime
    origin: RunOrigin

    @property
    def plan(self) -> SamplePlan:
        return self.order.plan

    @property
    def steps(self) -> int:
        """As many whole batches as the run's samples give."""
        return self.options.samples // self.options.batch_size

    def share(self, step: int) -> range:
        """This process's part of a step's positions in the stream of samples."""
        size = self.options.batch_size // self.runtime.world_size
        start = step * self.options.batch_size + self.runtime.rank * size
        return range(start, start + size)


def make_job(
    shards: str,
    subsets: Sequence[WeightedSubset],
    out: str,
    options: TrainOptions,
    tower: Tower,
    opt_out: str | None,
    inputs: dict[str, str],
    runtime: Runtime,
) -> Job:
    """Raises InputError for too few samples or steps, and for a batch that the processes cannot share."""
    plan = plan_samples(shards, [str(subset.path) for subset in subsets], opt_out, options.allow_missing)
    order = make_order(plan, [subset.weight for subset in subsets], options.seed, options.batch_size)
    manifest = read_manifest(shards)
    origin = RunOrigin(
        recipe={**options.model_dump(mode="json", exclude=set(options.may_change)), "subset": mixture(subsets)},
        inputs=inputs | subset_digests(subsets),
        code=code_digest(),
        data=manifest.model_dump(mode="json") if manifest else None,
    )
    job = Job(options, tower, order, out, runtime, origin)
    _check(job, shards)
    return job


def parse_subset(text: str) -> WeightedSubset:
    """The subset that ``FILE=WEIGHT`` names, or ``FILE`` with a weight of 1."""
    path, sign, weight = text.rpartition("=")
    try:
        given = float(weight) if sign else 1.0
    except ValueError:
        return weighted_subset(text)  # a path may hold the sign itself
    if sign and not 0 < given < float("inf"):
        raise InputError(f"`subset` {text!r}: the weight must be more than 0, as FILE=0.7")
    return weighted_subset(path, given) if sign else weighted_subset(text)


def inputs_of(shards: str, tower: Tower, opt_out: str | None, initial: str | None) -> dict[str, str]:
    """Digests of what a run reads, but for the subsets."""
    inputs = {"shards": input_digest(shards), "tower": tower.digest, **load_opt_out(opt_out).inputs}
    if pieces := pieces_digest(tower.model_cfg["text_cfg"]):
        inputs["tokenizer"] = pieces
    if initial:
        inputs["initial"] = initial_digest(initial)
    return inputs


def code_digest() -> str:
    """SHA-256 over the source files that a run goes through."""
    paths = sorted(path for folder in _CODE for path in (_ROOT / folder).rglob("*.py"))
    parts = [part for path in paths for part in (path.relative_to(_ROOT).as_posix(), path.read_text("utf-8"))]
    return files.sha256_text(*parts)


def _check(job: Job, shards: str) -> None:
    options, batch = job.options, job.options.batch_size
    if len(job.plan) < batch:
        raise InputError(f"{shards}: {len(job.plan)} samples to train on, fewer than a `batch_size` of {batch}")
    if batch % job.runtime.world_size:
        raise InputError(f"`batch_size` {batch} does not divide by the run's {job.runtime.world_size} processes")
    if job.runtime.world_size % options.replicas:
        raise InputError(f"`replicas` {options.replicas} does not divide the run's {job.runtime.world_size} processes")
    if options.warmup_steps >= job.steps:
        raise InputError(
            f"`warmup_steps` {options.warmup_steps} is not below the run's {job.steps} steps (`samples` "
            f"{options.samples} at `batch_size` {batch}); lower it, or raise `samples`"
        )
