"""Training of a small tower in pairs a CPU second: as it is, as it was, and next to open_clip's own trainer.

As it is: one thread, texts cut to a batch's longest, equal captions encoded once. As it was: a thread for each core,
whole texts. The steps that count begin after the first epoch, so that clipsieve has its pairs decoded, as a study of
many epochs has; open_clip_train decodes each again. CPU seconds are of all threads of the trainer, which reads and
decodes in its own process, and leave out its start.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from benchmarks.inputs import pair_shards
from benchmarks.timing import Contender, Measured, Row, compare, python
from clipsieve.schemas.shards import list_shards
from clipsieve.training.towers.tower import load_tower

BATCH, STEPS, LEFT_OUT = 256, 24, 8
SAMPLES = BATCH * (STEPS - LEFT_OUT)
SHARDS = 1
"""Of 1,093 pairs, so that an epoch is four steps."""
COUNTED = """
import time
import clipsieve.cli
from clipsieve.training import step
take = step.Stepper.take
def counted(*given):
    result = take(*given)
    with open({seconds!r}, "a") as stream:
        print(time.process_time(), file=stream)
    return result
step.Stepper.take = counted
"""
WHOLE = "step.brief_texts = lambda model, texts: (texts, None)\n"
"""Texts as they come."""


def run(scratch: Path) -> list[Row]:
    """Pairs a CPU second of `vit-tiny-32`, and of `vit-tiny-64` on pictures of 32 px."""
    shards = _few_shards(pair_shards(scratch), scratch / "few")
    rows = []
    for name, tower in (("vit-tiny-32", "vit-tiny-32"), ("vit-tiny-64 at 32 px", str(_at_32_px(scratch)))):
        contenders = [
            Contender("clipsieve train, one thread", partial(_train, shards, tower, "", 1)),
            Contender("whole texts, a thread for each core", partial(_train, shards, tower, WHOLE, None)),
            Contender("whole texts, one thread", partial(_train, shards, tower, WHOLE, 1)),
            Contender("open_clip_train", partial(_open_clip, shards, tower)),
        ]
        rows += compare(f"small towers, CPU: {name}", "pairs", contenders)
    return rows


def _train(shards: Path, tower: str, change: str, threads: int | None, out: Path) -> Measured:
    seconds = out / "seconds.txt"
    flags = {
        "shards": shards,
        "out": out / "model",
        "tower": tower,
        "samples": BATCH * STEPS,
        "batch-size": BATCH,
        "augment": "crop",
        "warmup-steps": 1,
        "threads": threads or "none",
    }
    program = COUNTED.format(seconds=str(seconds)) + change + "clipsieve.cli.main()"
    python("-c", program, "train", *(f"--{name}={value}" for name, value in flags.items()))
    return _measured(seconds)


def _open_clip(shards: Path, tower: str, out: Path) -> Measured:
    names = list_shards(str(shards))
    flags = {
        "train-data": f"{shards}/{names[0]}.tar",
        "train-num-samples": BATCH * STEPS,
        "batch-size": BATCH,
        "precision": "fp32",
        "workers": 0,
        "epochs": 1,
        "warmup": 1,
    }
    seconds = out / "seconds.txt"
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    python("-m", "benchmarks.open_clip_train_peer", tower, str(seconds), *arguments)
    return _measured(seconds.with_suffix(".cpu"))


def _measured(path: Path) -> Measured:
    """The CPU seconds from the last step that is left out to the last one."""
    ends = [float(line) for line in path.read_text().split()]
    return Measured(SAMPLES, ends[STEPS - 1] - ends[LEFT_OUT - 1])


def _few_shards(shards: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name in list_shards(str(shards))[:SHARDS]:
        for path in shards.glob(f"{name}*"):
            if not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return folder


def _at_32_px(scratch: Path) -> Path:
    tower = load_tower("vit-tiny-64")
    tower.model_cfg["vision_cfg"]["image_size"] = tower.preprocess_cfg["size"] = 32
    path = scratch / "vit-tiny-64-at-32.json"
    path.write_text(json.dumps({"model_cfg": tower.model_cfg, "preprocess_cfg": tower.preprocess_cfg}))
    return path
