"""``python -m tests.training.processes FOLDER TOWER``: every strategy on 4, 2 and 1 gloo processes.

What test_processes.py compares: the weights after five steps, and the gradients of the first, both computed in float64.
A forkserver imports this once for all processes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import safetensors.torch
import torch
import torch.distributed as dist

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.checkpoint import gathered
from clipsieve.training.data.loader import Batch
from clipsieve.training.optimizers import make_optimizer
from clipsieve.training.runtime import Runtime
from clipsieve.training.scale import distribute
from clipsieve.training.step import Stepper
from clipsieve.training.strategies.base import Strategy
from clipsieve.training.strategies.registry import fit_tower, make_strategy
from clipsieve.training.towers.tower import build_model, load_tower

WORLDS = (4, 2, 1)
STEPS, BATCH = 5, 16
STRATEGIES: dict[str, dict[str, object]] = {
    "clip": {},
    "siglip": {"strategy": "siglip"},
    "flip": {"image_mask": "random"},
    "slip": {"strategy": "slip", "augment": "crop", "slip_width": 16},
    "lit": {"lock_image": True},
    "clip-fsdp": {"parallel": "fsdp"},
    "hsdp": {"parallel": "fsdp", "replicas": 2},
    "siglip-fsdp": {"parallel": "fsdp", "strategy": "siglip"},
    "flip-fsdp": {"parallel": "fsdp", "image_mask": "random"},
    "slip-fsdp": {"parallel": "fsdp", "strategy": "slip", "augment": "crop", "slip_width": 16},
    "adafactor-fsdp": {"parallel": "fsdp", "optimizer": "adafactor", "weight_decay": 1e-4, "betas": (0.9, 0.999)},
}
ACCUMULATES = (1, 2)


def worlds_of(name: str) -> tuple[int, ...]:
    """FSDP's shares are no other on four processes than on two, and they take their time; replicas' take four."""
    if name == "hsdp":
        return 4, 1
    return WORLDS[1:] if name.endswith("fsdp") else WORLDS


def file_of(folder: str, what: str, name: str, world: int, accumulate: int) -> Path:
    """The file of ``what``, weights or gradients."""
    return Path(folder, f"{what}-{name}-{world}-{accumulate}.safetensors")


def train_everything(rank: int, folder: str, tower_file: str) -> None:
    """What process ``rank`` of four does: its part in each world that it is in."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # of the weights, the normalised images and the features
    for world in (world for world in WORLDS if rank < world):
        control = None
        if world > 1:
            dist.init_process_group("gloo", init_method=f"file://{folder}/store-{world}", rank=rank, world_size=world)
            control = cast(dist.ProcessGroup, dist.new_group(backend="gloo"))
        runtime = Runtime(rank, world, torch.device("cpu"), control)
        for name, options in STRATEGIES.items():
            for accumulate in ACCUMULATES if world in worlds_of(name) else ():
                for what, found in (("weights", weights_of), ("gradients", gradients_of)):
                    tensors = found(stepper_of(runtime, tower_file, options | {"accumulate": accumulate}))
                    if rank == 0:
                        safetensors.torch.save_file(tensors, file_of(folder, what, name, world, accumulate))
        if world > 1:
            dist.destroy_process_group()


def stepper_of(runtime: Runtime, tower_file: str, changes: dict[str, object]) -> Stepper:
    options = TrainOptions.model_validate({"tower": tower_file, "batch_size": BATCH, **changes})
    tower = fit_tower(load_tower(options.tower), options)
    torch.manual_seed(0)
    strategy = make_strategy(options, tower, build_model(tower), runtime).train()
    trained = distribute(strategy, options, runtime)
    return Stepper(strategy, trained, make_optimizer(strategy, options), options, tower.preprocess_cfg, runtime)


def weights_of(stepper: Stepper) -> dict[str, torch.Tensor]:
    """After `STEPS` steps."""
    for step in range(STEPS):
        take(stepper, step)
    return gathered(stepper.strategy.state_dict(), is_first=True)


def gradients_of(stepper: Stepper) -> dict[str, torch.Tensor]:
    """Of one step; clipped, all by one factor."""
    take(stepper, 0)
    named = stepper.strategy.named_parameters()
    return gathered({name: p.grad for name, p in named if p.grad is not None}, is_first=True)


def take(stepper: Stepper, step: int) -> None:
    """One step on this process's share."""
    share = BATCH // stepper.runtime.world_size
    start = stepper.runtime.rank * share
    batch = batch_of(stepper.strategy, step, slice(start, start + share))
    stepper.take(batch, stepper.strategy.draw_kept(range(step * BATCH + start, step * BATCH + start + share)))


def batch_of(strategy: Strategy, step: int, own: slice) -> Batch:
    """The rows ``own`` of a step's batch; its captions are random words from the whole vocabulary."""
    generator = torch.Generator().manual_seed(step)
    shape = (BATCH, 3, 16, 16)
    images = {v.name: torch.randint(256, shape, generator=generator, dtype=torch.uint8)[own] for v in strategy.views}
    texts = torch.randint(1, 599, (BATCH, 8), generator=generator)
    texts[:, -1] = 599
    return Batch(images, texts[own])


def main(folder: str, tower_file: str) -> None:
    torch.multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.training.processes"])
    arguments, processes = (folder, tower_file), max(WORLDS)
    torch.multiprocessing.start_processes(train_everything, arguments, processes, start_method="forkserver")


if __name__ == "__main__":
    main(*sys.argv[1:])
