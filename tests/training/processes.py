"""``python -m tests.training.processes FOLDER TOWER``: five steps of every strategy on 4, 2 and 1 gloo processes.

What test_processes.py compares. A forkserver imports this once for all processes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import safetensors.torch
import torch
import torch.distributed as dist

from schemas.recipe import TrainOptions
from training.checkpoint import gathered
from training.data import Batch
from training.optimizers import make_optimizer
from training.runtime import Runtime
from training.scale import distribute
from training.step import Stepper
from training.strategies import Strategy, fit_tower, make_strategy
from training.towers import build_model, load_tower

WORLDS = (4, 2, 1)
STEPS, BATCH = 5, 16
STRATEGIES: dict[str, dict[str, object]] = {
    "clip": {},
    "siglip": {"strategy": "siglip"},
    "flip": {"image_mask": "random"},
    "slip": {"strategy": "slip", "augment": "crop", "slip_width": 16},
    "lit": {"lock_image": True},
    "clip-fsdp": {"parallel": "fsdp"},
    "slip-fsdp": {"parallel": "fsdp", "strategy": "slip", "augment": "crop", "slip_width": 16},
    "adafactor-fsdp": {"parallel": "fsdp", "optimizer": "adafactor", "weight_decay": 1e-4, "betas": (0.9, 0.999)},
}
ACCUMULATES = (1, 2)


def worlds_of(name: str) -> tuple[int, ...]:
    """FSDP's shares are no other on four processes than on two, and they take their time."""
    return WORLDS[1:] if name.endswith("fsdp") else WORLDS


def file_of(folder: str, name: str, world: int, accumulate: int) -> Path:
    return Path(folder, f"{name}-{world}-{accumulate}.safetensors")


def train_everything(rank: int, folder: str, tower_file: str) -> None:
    """What process ``rank`` of four does: its part in each world that it is in."""
    torch.set_num_threads(1)
    for world in (world for world in WORLDS if rank < world):
        control = None
        if world > 1:
            dist.init_process_group("gloo", init_method=f"file://{folder}/store-{world}", rank=rank, world_size=world)
            control = cast(dist.ProcessGroup, dist.new_group(backend="gloo"))
        runtime = Runtime(rank, world, torch.device("cpu"), control)
        for name, options in STRATEGIES.items():
            for accumulate in ACCUMULATES if world in worlds_of(name) else ():
                weights = train(runtime, tower_file, options | {"accumulate": accumulate})
                if rank == 0:
                    safetensors.torch.save_file(weights, file_of(folder, name, world, accumulate))
        if world > 1:
            dist.destroy_process_group()


def train(runtime: Runtime, tower_file: str, changes: dict[str, object]) -> dict[str, torch.Tensor]:
    options = TrainOptions.model_validate({"tower": tower_file, "batch_size": BATCH, **changes})
    tower = fit_tower(load_tower(options.tower), options)
    torch.manual_seed(0)
    strategy = make_strategy(options, tower, build_model(tower), runtime).train()
    trained = distribute(strategy, options, runtime)
    stepper = Stepper(strategy, trained, make_optimizer(strategy, options), options, tower.preprocess_cfg, runtime)
    share = BATCH // runtime.world_size
    for step in range(STEPS):
        start = runtime.rank * share
        batch = batch_of(strategy, step, slice(start, start + share))
        stepper.take(batch, range(step * BATCH + start, step * BATCH + start + share))
    return gathered(strategy.state_dict(), is_first=True)


def batch_of(strategy: Strategy, step: int, own: slice) -> Batch:
    generator = torch.Generator().manual_seed(step)
    shape = (BATCH, 3, 16, 16)
    images = {v.name: torch.randint(256, shape, generator=generator, dtype=torch.uint8)[own] for v in strategy.views}
    # Few words, each in several captions, and an end: a token whose gradient is near rounding is blown up by AdamW.
    texts = torch.randint(1, 9, (BATCH, 8), generator=generator)
    texts[:, -1] = 599
    return Batch(images, texts[own])


def main(folder: str, tower_file: str) -> None:
    torch.multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.training.processes"])
    arguments, processes = (folder, tower_file), max(WORLDS)
    torch.multiprocessing.start_processes(train_everything, arguments, processes, start_method="forkserver")


if __name__ == "__main__":
    main(*sys.argv[1:])
