"""The training step, with and without glibc keeping the memory that a step frees (`training.runtime`)."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from benchmarks.inputs import pair_shards
from benchmarks.timing import Contender, Measured, Row, compare, python

TOWER = "regnet-tiny-64"
BATCH, STEPS, LOG_STEPS = 256, 4, 2
WITHOUT = """
from training import runtime, train
runtime._keep_freed_memory = lambda: None
raise SystemExit(train.main())
"""


def run(scratch: Path) -> list[Row]:
    """Samples a second of `training.train`, by its own log, once the first steps are taken."""
    shards = pair_shards(scratch)
    contenders = [
        Contender("clipsieve train", partial(_train, ("-m", "training.train"), shards)),
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
        "warmup-steps": 1,
        "log-steps": LOG_STEPS,
    }
    python(*program, *(f"--{name}={value}" for name, value in flags.items()))
    last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    samples = BATCH * LOG_STEPS
    return Measured(samples, samples / last["samples_per_second"])
