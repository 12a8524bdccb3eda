"""``python -m tests.training.golden.make``: write the losses of ten steps of each strategy next to this file.

Made anew only where a change is meant to alter them; the difference is then the change's to explain. What they depend
on is written to made.json: the versions, the precision, and how far another machine's losses may be from them.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from clipsieve.schemas.images import decode_image
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.data.images import image_stages
from clipsieve.training.data.loader import Batch
from clipsieve.training.data.texts import text_stages
from clipsieve.training.optimizers import make_optimizer, schedule
from clipsieve.training.runtime import Runtime
from clipsieve.training.step import Stepper
from clipsieve.training.strategies.base import Strategy
from clipsieve.training.strategies.registry import fit_tower, make_strategy
from clipsieve.training.towers.tower import Tower, build_model, load_tower
from tests.training.precision import default_dtype

FOLDER = Path(__file__).parent
PAIRS = Path(__file__).parents[3] / "pipelines" / "quickstart" / "pairs.parquet"
STEPS, BATCH, POOL = 10, 16, 64
MADE = FOLDER / "made.json"
PACKAGES = ("numpy", "open_clip_torch", "opencv-python-headless", "pillow", "timm", "torch", "torchvision")
PRECISION = torch.float64
TOLERANCE = 1e-3
WHY = (
    "of each loss. In float64 the sums of two processors differ by 1e-12 of a loss, in float32 by a tenth of SLIP's. "
    "What is left is decoding and augmenting: another processor, or another version of Pillow or OpenCV, rounds "
    "some pixels to the next level. One pixel in 10,000 moves a loss by 1e-4."
)
TOWER = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 16},
        "text_cfg": {"context_length": 12, "vocab_size": 1000, "width": 64, "heads": 4, "layers": 2},
    },
    "preprocess_cfg": {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"},
}
BIG_VISION = {"optimizer": "adafactor", "weight_decay": 1e-4, "betas": (0.9, 0.999)}
RECIPES: dict[str, dict[str, Any]] = {
    "clip": {},
    "clip-adafactor": {**BIG_VISION, "augment": "crop_flip"},
    "clip-randaugment": {"augment": "randaugment"},
    "clip-stacked-randaugment": {"augment": "stacked_randaugment"},
    "siglip": {"strategy": "siglip"},
    # Its batch norms over 16 pairs are so steep that at the default rate one pixel in 10,000 moves a loss by 4e-2.
    "slip": {"strategy": "slip", "augment": "crop", "slip_width": 64, "learning_rate": 3e-5},
    "flip": {"image_mask": "random", "accumulate": 2},
    "clipa-grid-block": {"image_mask": "grid", "text_mask": "block", "context_length": 6},
    "clipa-block-random": {"image_mask": "block", "text_mask": "random", "context_length": 6},
    "clipa-v2-truncate": {"image_mask": "random", "image_mask_ratio": 0.3, "context_length": 6},
    "clipa-resize-syntax": {"image_size": 16, "text_mask": "syntax", "context_length": 6},
    "lit": {"lock_image": True},
}


def losses_of(tower_file: Path, changes: dict[str, Any]) -> list[dict[str, float]]:
    """Each step's loss and its parts, on one process, computed in `PRECISION`."""
    with default_dtype(PRECISION):
        return _losses_of(tower_file, changes)


def _losses_of(tower_file: Path, changes: dict[str, Any]) -> list[dict[str, float]]:
    options = TrainOptions.model_validate({"tower": str(tower_file), "batch_size": BATCH, **changes})
    tower = fit_tower(load_tower(options.tower), options)
    runtime = Runtime(0, 1, torch.device("cpu"), None)
    torch.manual_seed(options.seed)
    strategy = make_strategy(options, tower, build_model(tower), runtime).train()
    optimizer = make_optimizer(strategy, options)
    stepper = Stepper(strategy, strategy, optimizer, options, tower.preprocess_cfg, runtime)
    curve = []
    for step, batch in enumerate(_batches(strategy, tower, options)):
        for group in optimizer.param_groups:
            group["lr"] = options.peak_learning_rate * schedule(step, STEPS, 2)
        losses = stepper.take(batch, strategy.draw_kept(range(step * BATCH, (step + 1) * BATCH))).losses
        curve.append({name: round(loss.item(), 6) for name, loss in losses.items()})
    return curve


def _batches(strategy: Strategy, tower: Tower, options: TrainOptions) -> list[Batch]:
    rows = pq.read_table(PAIRS, columns=["title", "image"]).slice(0, POOL).to_pylist()
    prepare, views = image_stages([view.augment for view in strategy.views], tower.preprocess_cfg)
    encode, reduce = text_stages(options.text_mask, tower.model_cfg["text_cfg"])
    pictures = [decode_image(row["image"], row["title"]).convert("RGB") for row in rows]
    batches = []
    for step in range(STEPS):
        positions = range(step * BATCH, (step + 1) * BATCH)
        pairs = [rows[position % POOL] for position in positions]
        images = {
            view.name: torch.stack(
                [
                    torch.from_numpy(make(prepare(pictures[position % POOL]), (options.seed, position, number)).copy())
                    for position in positions
                ]
            ).permute(0, 3, 1, 2)
            for number, (view, make) in enumerate(zip(strategy.views, views, strict=True))
        }
        texts = [
            torch.from_numpy(reduce(encode(pair["title"]), (options.seed, position)))
            for position, pair in zip(positions, pairs, strict=True)
        ]
        batches.append(Batch(images, torch.stack(texts)))
    return batches


def main() -> None:
    tower_file = FOLDER / "tower.json"
    tower_file.write_text(json.dumps(TOWER, indent=1) + "\n")
    for name, changes in RECIPES.items():
        curve = losses_of(tower_file, changes)
        (FOLDER / f"{name}.jsonl").write_text("".join(json.dumps(losses) + "\n" for losses in curve))
    made = {
        "command": "python -m tests.training.golden.make",
        "packages": {name: version(name) for name in PACKAGES},
        "precision": str(PRECISION).removeprefix("torch."),
        "tolerance": TOLERANCE,
        "why": WHY,
    }
    MADE.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
