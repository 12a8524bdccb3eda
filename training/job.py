"""A run as it is decided before step 0: its samples and their order, its steps, and what makes it this run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import input_digest, read_manifest, weighted_subset
from clipsieve.schemas.opt_out import INPUT_NAME, load_opt_out
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.ranges import is_local
from clipsieve.schemas.scratch import scratch_folder
from clipsieve.schemas.terminal import say
from clipsieve.schemas.tokenizer import pieces_digest
from clipsieve.schemas.training_data import WeightedSubset, mixture, subset_digests
from clipsieve.training.checkpoint import PlanMark, RunOrigin, last_origin
from clipsieve.training.data.images import DECODER
from clipsieve.training.data.order import SampleOrder, make_order
from clipsieve.training.data.plan import PlanSource
from clipsieve.training.data.plan_file import PlanInputs, SamplePlan
from clipsieve.training.data.plans import drop_plan, plans_of, run_plan
from clipsieve.training.data.tar_cache import TarCache, TarsAhead
from clipsieve.training.data.tars import cut_tars
from clipsieve.training.growth import LostPairs, lost_pairs
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

    @cached_property
    def tar_cache(self) -> TarCache | None:
        """Where a node keeps the tars of an order of windows; None: they are read where they are."""
        if not self.plan.is_by_shard or is_local(self.plan.tars[0]):
            return None
        folder = scratch_folder(f"tars-{files.sha256_text(files.absolute(self.out))[:16]}")
        return TarCache(folder, self.plan.header.inputs.key)

    @property
    def steps(self) -> int:
        """As many whole batches as the run's samples give."""
        return self.options.samples // self.options.batch_size

    @contextmanager
    def shares(self, done: int) -> Iterator[Iterator[range]]:
        """`share` of each step after the first ``done``; as they are taken, the tars that they need are fetched."""
        with TarsAhead(self.order, self.tar_cache) if self.tar_cache else nullcontext() as ahead:
            yield (self._share_of(step, ahead) for step in range(done, self.steps))

    def drop_cached(self) -> None:
        """Remove what a run that is done kept for itself: its plan, and tars."""
        drop_plan(plans_of(self.out))
        if self.tar_cache:
            self.tar_cache.clear()

    def _share_of(self, step: int, ahead: TarsAhead | None) -> range:
        if ahead:
            ahead.move(range(step * self.options.batch_size, (step + 1) * self.options.batch_size))
        return self.share(step)

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
    given_plan: str | None = None,
) -> Job:
    """Raises InputError for too few samples or steps, for a batch that the processes cannot share, for tars that are
    missing, and where ``given_plan``, a folder, is not of these shards and subsets."""
    before, weights = last_origin(out), [subset.weight for subset in subsets]
    plan = _plan(shards, subsets, out, options, opt_out, inputs, given_plan, before)
    for line in cut_tars(plan):
        if runtime.is_first:
            say(line, is_error=True)
    order = make_order(plan, weights, options.seed, options.batch_size, options.window_shards)
    manifest = read_manifest(shards)
    origin = RunOrigin(
        recipe={**options.model_dump(mode="json", exclude=set(options.may_change)), "subset": mixture(subsets)},
        inputs=inputs | subset_digests(subsets),
        code=code_digest(),
        data=manifest.model_dump(mode="json") if manifest else None,
        plan=PlanMark(digest=plan.header.digest, samples=len(plan), gone=plan.header.gone),
        lost_pairs=_all_lost(before, inputs, shards, subsets),
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
    """Digests of what a run reads, but for the subsets, and the name of what decodes its images."""
    inputs = {"shards": input_digest(shards), "tower": tower.digest, "decoder": DECODER, **load_opt_out(opt_out).inputs}
    if pieces := pieces_digest(tower.model_cfg["text_cfg"]):
        inputs["tokenizer"] = pieces
    if initial:
        inputs["initial"] = initial_digest(initial)
    return inputs


def lost_since_begun(
    out: str, inputs: dict[str, str], shards: str, subsets: Sequence[WeightedSubset]
) -> dict[str, list[str | None]]:
    """What a half-done run in ``out`` may have lost since it began; of no run and of a complete one, nothing."""
    manifest = read_manifest(out)
    return lost_pairs(manifest.given, inputs, shards, subsets) if manifest and not manifest.complete else {}


def code_digest() -> str:
    """SHA-256 over the source files that a run goes through."""
    paths = sorted(path for folder in _CODE for path in (_ROOT / folder).rglob("*.py"))
    parts = [part for path in paths for part in (path.relative_to(_ROOT).as_posix(), path.read_text("utf-8"))]
    return files.sha256_text(*parts)


def _plan(
    shards: str,
    subsets: Sequence[WeightedSubset],
    out: str,
    options: TrainOptions,
    opt_out: str | None,
    inputs: dict[str, str],
    given: str | None,
    before: RunOrigin | None,
) -> SamplePlan:
    """The run's plan; ``before`` made its last checkpoint."""
    chosen: dict[str, Any] = {"allow_missing": options.allow_missing, "order": options.order}
    source = PlanSource(shards, tuple(str(subset.path) for subset in subsets), opt_out, **chosen)
    digests = tuple(subset.digest for subset in subsets)
    wanted = PlanInputs(shards=inputs["shards"], subsets=digests, opt_out=inputs.get(INPUT_NAME), **chosen)
    began = before.plan.digest if before and before.plan else None
    return run_plan(source, wanted, plans_of(out), given, began)


def _all_lost(
    before: RunOrigin | None, inputs: dict[str, str], shards: str, subsets: Sequence[WeightedSubset]
) -> LostPairs:
    """What the inputs lost since the last checkpoint, added to what they had lost before it."""
    if before is None:
        return {}
    lost = lost_pairs(before.inputs, inputs, shards, subsets)
    return before.lost_pairs | {name: [*before.lost_pairs.get(name, []), *states] for name, states in lost.items()}


@contextmanager
def nothing_left_if_refused(out: str) -> Iterator[None]:
    """Remove the plan of a run that is refused before it has begun, and its folder if it was made for that."""
    is_new = not files.exists(out)
    try:
        yield
    except InputError:
        if read_manifest(out) is None:
            drop_plan(plans_of(out))
            if is_new:
                with suppress(OSError):  # in an object store there is no folder to remove
                    Path(out).rmdir()
        raise


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
