"""Training next to open_clip's own trainer, and what each of two means does: keeping the memory that a step frees, and
letting OpenMP's threads sleep.

The same tower, batch, precision and shards, one decoding worker each; a crop of the image in both. The first steps,
in which webdataset fills its buffer and memory grows, are left out on both sides. The last row is the time, of another
such run, in which a step waits for its data.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.inputs import pair_shards
from benchmarks.timing import Contender, Measured, Row, clipsieve, compare, python
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, read_table

TOWER = "vit-tiny-64"
BATCH, STEPS, LEFT_OUT = 256, 10, 2
SAMPLES = BATCH * (STEPS - LEFT_OUT)
SPINNING = partial(python, "-c", "import torch; import clipsieve; cli.main()")
"""Torch is imported before schemas says how long OpenMP's threads spin."""
WITHOUT = """
import clipsieve
from clipsieve.training import runtime
runtime._keep_freed_memory = lambda: None
cli.main()
"""
Program = Callable[..., None]
"""Runs the command with its arguments."""


def run(scratch: Path) -> list[Row]:
    """Samples a second of the steps that count, by each trainer's own log."""
    shards = pair_shards(scratch)
    contenders = [
        Contender("clipsieve train", partial(_train, clipsieve, shards)),
        Contender("open_clip_train", partial(_open_clip, shards)),
        Contender("giving memory back at every step", partial(_train, partial(python, "-c", WITHOUT), shards)),
        Contender("OpenMP's threads spinning", partial(_train, SPINNING, shards)),
        Contender("waiting for data alone", partial(_wait, shards)),
    ]
    return compare("train", "samples", contenders)


def _train(program: Program, shards: Path, out: Path) -> Measured:
    return Measured(SAMPLES, sum(seconds for seconds, _ in _log_of(program, shards, out)))


def _wait(shards: Path, out: Path) -> Measured:
    log = _log_of(clipsieve, shards, out)
    return Measured(SAMPLES, sum(seconds * share for seconds, share in log))


def _log_of(program: Program, shards: Path, out: Path) -> list[tuple[float, float]]:
    """A run's seconds, and the share of them in which it waited for data, by the lines of its log that count."""
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
    program("train", *(f"--{name}={value}" for name, value in flags.items()))
    rows = read_table(f"{out}/{TRAIN_LOG_NAME}", TRAIN_LOG).to_pylist()[1:]
    return [(BATCH * LEFT_OUT / row["samples_per_second"], row["data_wait_share"]) for row in rows]


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
