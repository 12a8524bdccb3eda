"""What a training run would take, before any data is there: tokens, steps, compute and memory, by arithmetic.

Hours are the run's FLOPs, what is computed twice included, over the device's peak at a stated share of it (MFU).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from rich.table import Table

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.terminal import cell
from clipsieve.training.cost.devices import PEAK_FLOPS
from clipsieve.training.cost.ledger import FLOPS_PER_MAC, Cost, tower_cost
from clipsieve.training.cost.memory import Memory, run_memory
from clipsieve.training.initial import refuse_untrained_lock
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies.registry import fit_tower, make_strategy
from clipsieve.training.towers.tower import build_model, load_tower

DEVICES = ("A100", "H100")
_GIB = 2**30
_GIGA = 1e9
_EXA = 1e18
_SECONDS_PER_HOUR = 3600
_SIZES = frozenset(
    {
        *("tower", "batch_size", "optimizer", "precision", "strategy", "slip_width", "augment", "image_size"),
        *("context_length", "image_mask", "image_mask_ratio", "lock_image", "accumulate", "parallel", "replicas"),
    }
)
"""Options that decide what one step computes and holds."""


@dataclass(frozen=True)
class DryRun:
    """What one run would take on so many devices."""

    options: TrainOptions
    devices: int
    image_tokens: int | None
    """Tokens that the image tower's layers see; None where it has none."""
    text_tokens: int
    cost: Cost
    memory: Memory

    @property
    def steps(self) -> int:
        return self.options.samples // self.options.batch_size

    @property
    def device_batch(self) -> int:
        return self.options.batch_size // self.devices

    @property
    def flops(self) -> int:
        """Of the whole run, as the ledger counts: FLOPs are twice the MACs, training three times the forward pass."""
        return self.steps * self.options.batch_size * self.cost.training_flops

    @property
    def computed_flops(self) -> int:
        """With the forward passes that are run again for accumulation and for activation checkpointing."""
        again = int(self.options.accumulate > 1) + int(self.options.checkpoint_activations)
        forward = FLOPS_PER_MAC * (self.cost.image_macs + self.cost.text_macs)
        return self.flops + self.steps * self.options.batch_size * again * forward

    def device_hours(self, device: str, mfu: float) -> float:
        return self.computed_flops / (PEAK_FLOPS[device] * mfu) / _SECONDS_PER_HOUR


def dry_run(options: TrainOptions, devices: int) -> DryRun:
    """Work a run out. Raises InputError for what training would refuse: tower, strategy, batch, warm-up.

    Its tokenizer and initial weights need not be there yet.
    """
    if options.batch_size % devices:
        raise InputError(f"`batch_size` {options.batch_size} does not divide by {devices} devices")
    if devices % options.replicas:
        raise InputError(f"`replicas` {options.replicas} does not divide {devices} devices")
    refuse_untrained_lock(load_tower(options.tower), options)
    image_tokens, text_tokens, cost, memory = _size(TrainOptions(**options.model_dump(include=set(_SIZES))), devices)
    run = DryRun(options, devices, image_tokens, text_tokens, cost, memory)
    if options.warmup_steps >= run.steps:
        raise InputError(f"`warmup_steps` {options.warmup_steps} is not below the run's {run.steps} steps")
    return run


def dry_runs(runs: Mapping[str, TrainOptions], devices: int) -> dict[str, DryRun]:
    """Each of several runs worked out; the error for one that training would refuse names it."""
    worked_out = {}
    for name, options in runs.items():
        try:
            worked_out[name] = dry_run(options, devices)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    return worked_out


def table(runs: Mapping[str, DryRun], mfu: float) -> Table:
    """One row a run: memory of each device, compute of a pair's forward pass and of the run, hours of all devices."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("run", no_wrap=True)
    shown.add_column("tower", no_wrap=True)
    for heading in _HEADINGS:
        shown.add_column(heading, justify="right", no_wrap=True)
    for name, run in runs.items():
        shown.add_row(cell(name), cell(run.options.tower), *_cells(run, mfu))
    return shown


_HEADINGS = (
    *("image\ntokens", "text\ntokens", "batch a\ndevice", "\nsteps"),
    *("state\nGiB", "activ.\nGiB", "checkp.\nGiB", "all\nGiB"),
    *("forward\nGMAC", "forward\nGFLOP", "train\nGFLOP", "run\nEFLOP", "A100\nhours", "H100\nhours"),
)


def _cells(run: DryRun, mfu: float) -> Iterable[str]:
    memory, forward = run.memory, run.cost.image_macs + run.cost.text_macs
    yield "-" if run.image_tokens is None else str(run.image_tokens)
    yield str(run.text_tokens)
    yield f"{run.device_batch:,}"
    yield f"{run.steps:,}"
    yield f"{(memory.weights + memory.gradients + memory.optimizer) / _GIB:.1f}"
    yield f"{memory.activations / _GIB:.1f}"
    yield f"{memory.checkpointed / _GIB:.1f}"
    yield f"{memory.total(run.options.checkpoint_activations) / _GIB:.1f}"
    yield f"{forward / _GIGA:.2f}"
    yield f"{FLOPS_PER_MAC * forward / _GIGA:.2f}"
    yield f"{run.cost.training_flops / _GIGA:.2f}"
    yield _figures(run.flops / _EXA)
    for device in DEVICES:
        yield _figures(run.device_hours(device, mfu))


def _figures(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@lru_cache
def _size(options: TrainOptions, devices: int) -> tuple[int | None, int, Cost, Memory]:
    tower = fit_tower(load_tower(options.tower), options)
    with torch.device("meta"):
        strategy = make_strategy(options, tower, build_model(tower), Runtime(0, 1, torch.device("meta"), None))
    patches = getattr(strategy.model.visual, "grid_size", None)
    kept = strategy.draw_kept(range(1))
    tokens = None if patches is None else 1 + (patches[0] * patches[1] if kept is None else kept.shape[1])
    text_tokens = int(tower.model_cfg["text_cfg"].get("context_length", 77))
    return tokens, text_tokens, tower_cost(tower, options), run_memory(tower, options, devices)
