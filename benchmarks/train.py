"""Training next to open_clip's own trainer, and on CPUs what each of two means does: keeping the memory that a step
frees, and letting OpenMP's threads sleep.

The same tower, batch, precision, shards and number of decoding workers; a crop of the image in both. Where there is a
GPU both train there, in bf16. The first steps, in which webdataset fills its buffer, memory grows and
cuDNN looks for algorithms, are left out on both sides. The last row is the time, of another such run, in which a step
waits for its data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.inputs import pair_shards
from benchmarks.timing import Contender, Measured, Row, clipsieve, compare, cores, python
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, read_table


@dataclass(frozen=True)
class Setting:
    """What is trained on a kind of device."""

    tower: str
    batch: int
    steps: int
    left_out: int
    """The first ones; also how many a line of the log is of."""
    workers: int
    precision: str
    peers_precision: str

    @property
    def samples(self) -> int:
        """Of the steps that count."""
        return self.batch * (self.steps - self.left_out)


ON_CPU = Setting("vit-tiny-64", 256, 10, 2, 1, "fp32", "fp32")
ON_GPU = Setting("vit-b-32", 1024, 60, 20, cores(), "bf16", "amp_bf16")
HERE = ON_GPU if torch.cuda.is_available() else ON_CPU
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
    on_cpu = [
        Contender("giving memory back at every step", partial(_train, partial(python, "-c", WITHOUT), shards)),
        Contender("OpenMP's threads spinning", partial(_train, SPINNING, shards)),
    ]
    contenders = [
        Contender("clipsieve train", partial(_train, clipsieve, shards)),
        Contender("open_clip_train", partial(_open_clip, shards)),
        *(on_cpu if HERE is ON_CPU else ()),
        Contender("waiting for data alone", partial(_wait, shards)),
    ]
    return compare("train", "samples", contenders)


def _train(program: Program, shards: Path, out: Path) -> Measured:
    return Measured(HERE.samples, sum(seconds for seconds, _ in _log_of(program, shards, out)))


def _wait(shards: Path, out: Path) -> Measured:
    log = _log_of(clipsieve, shards, out)
    return Measured(HERE.samples, sum(seconds * share for seconds, share in log))


def _log_of(program: Program, shards: Path, out: Path) -> list[tuple[float, float]]:
    """A run's seconds, and the share of them in which it waited for data, by the lines of its log that count."""
    flags = {
        "shards": shards,
        "out": out,
        "tower": HERE.tower,
        "samples": HERE.batch * HERE.steps,
        "batch-size": HERE.batch,
        "precision": HERE.precision,
        "workers": HERE.workers,
        "augment": "crop",
        "warmup-steps": 1,
        "log-steps": HERE.left_out,
    }
    program("train", *(f"--{name}={value}" for name, value in flags.items()))
    rows = read_table(f"{out}/{TRAIN_LOG_NAME}", TRAIN_LOG).to_pylist()[1:]
    return [(HERE.batch * HERE.left_out / row["samples_per_second"], row["data_wait_share"]) for row in rows]


def _open_clip(shards: Path, out: Path) -> Measured:
    names = list_shards(str(shards))
    flags = {
        "train-data": f"{shards}/{{{names[0]}..{names[-1]}}}.tar",
        "train-num-samples": HERE.batch * HERE.steps,
        "batch-size": HERE.batch,
        "precision": HERE.peers_precision,
        "workers": HERE.workers,
        "epochs": 1,
        "warmup": 1,
    }
    seconds = out / "seconds.txt"
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    python("-m", "benchmarks.open_clip_train_peer", HERE.tower, str(seconds), *arguments)
    return Measured(HERE.samples, sum(map(float, seconds.read_text().split()[HERE.left_out :])))
