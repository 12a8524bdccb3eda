"""Training beside open_clip's own trainer, and without glibc keeping the memory that a step frees.

The same tower, batch, precision and shards, one decoding worker each; a crop of the image in both. The first steps,
in which webdataset fills its buffer and memory grows, are left out on both sides.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.inputs import pair_shards
from benchmarks.timing import Contender, Measured, Row, compare, python
from schemas.samples import list_shards
from schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, read_table

TOWER = "vit-tiny-64"
BATCH, STEPS, LEFT_OUT = 256, 6, 2
SAMPLES = BATCH * (STEPS - LEFT_OUT)
WITHOUT = """
from training import runtime, train
runtime._keep_freed_memory = lambda: None
raise SystemExit(train.main())
"""


def run(scratch: Path) -> list[Row]:
    """Samples a second of the steps that count, by each trainer's own log."""
    shards = pair_shards(scratch)
    contenders = [
        Contender("clipsieve train", partial(_train, ("-m", "training.train"), shards)),
        Contender("open_clip_train", partial(_open_clip, shards)),
        Contender("giving memory back at every step", partial(_train, ("-c", WITHOUT), shards)),
    ]
    return compare("train", "samples", contenders)


def _train(program: tuple[str, str], shards: Path, out: Path) -> Measured:
    flags = {
        "shards": shards,
        "out": out,
        "tower": TOWER,
        "samples": BATCH * STEPS,
        "batch-size": BATCH,
        "augment": "crop",
        "warmup-steps": 1,
        "log-steps": LEFT_OUT,
    }
    python(*program, *(f"--{name}={value}" for name, value in flags.items()))
    rates = read_table(f"{out}/{TRAIN_LOG_NAME}", TRAIN_LOG)["samples_per_second"].to_pylist()[1:]
    return Measured(SAMPLES, sum(BATCH * LEFT_OUT / rate for rate in rates))


def _open_clip(shards: Path, out: Path) -> Measured:
    names = list_shards(str(shards))
    flags = {
        "train-data": f"{shards}/{{{names[0]}..{names[-1]}}}.tar",
        "train-num-samples": BATCH * STEPS,
        "batch-size": BATCH,
        "precision": "fp32",
        "workers": 1,
        "epochs": 1,
        "warmup": 1,
    }
    seconds = out / "seconds.txt"
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    python("-m", "benchmarks.open_clip_train_peer", TOWER, str(seconds), *arguments)
    return Measured(SAMPLES, sum(map(float, seconds.read_text().split()[LEFT_OUT:])))
