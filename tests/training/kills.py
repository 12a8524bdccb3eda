"""Runs of real processes that SIGKILL ends at a chosen moment, among them the moments of writing a checkpoint.

A forkserver imports the trainer once, so that each process starts in a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from dataclasses import dataclass
from typing import Any

from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.options import TrainOptions
from clipsieve.training import train

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.training.kills"])
KINDS = ("step", "open", "os.rename", "os.remove")
"""A step is done; a checkpoint's temporary file is made; it is written whole; the one before is about to go."""


@dataclass(frozen=True)
class Moment:
    """The ``count``-th event of its kind in the first process's life."""

    kind: str
    count: int
    rank: int
    """The process that is killed."""


@dataclass(frozen=True)
class _Killer:
    """Counts events down and kills; it stands for stderr too, where the trainer says its steps."""

    kind: str
    left: list[int]
    victim: int

    def audit(self, event: str, details: tuple[Any, ...]) -> None:
        """Python calls this with whatever is opened, renamed and removed, in any thread."""
        if event == self.kind and ".safetensors" in str(details[0]) and "checkpoints" in str(details[0]):
            self._count()

    def write(self, text: str) -> int:
        if self.kind == "step" and text.startswith("step "):
            self._count()
        return len(text)

    def flush(self) -> None:
        pass

    def _count(self) -> None:
        self.left[0] -= 1
        if not self.left[0]:
            os.kill(self.victim, signal.SIGKILL)


def run_until(world: int, shards: str, out: str, options: TrainOptions, moment: Moment | None) -> list[int | None]:
    """Train in ``world`` processes, as torchrun would start them; returns their exit statuses.

    The first process watches for the moment, and kills itself or the other.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(world)}
    common["LOCAL_WORLD_SIZE"] = str(len(os.sched_getaffinity(0)))  # one thread each
    processes: list[Any] = []
    for rank in reversed(range(world)):  # the first one comes last, and is told whom to kill
        ranked = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        victim = processes[0].pid if moment and moment.rank and processes else None
        processes.append(
            CONTEXT.Process(target=_train, args=((shards, out, options), ranked, None if rank else moment, victim))
        )
        processes[-1].start()
    for process in processes:
        process.join()
    return [process.exitcode for process in reversed(processes)]


def _train(
    run: tuple[str, str, TrainOptions], environment: dict[str, str], moment: Moment | None, victim: int | None
) -> None:
    os.environ.update(environment)
    killer = _Killer(moment.kind if moment else "", [moment.count if moment else 0], victim or os.getpid())
    sys.stderr = killer
    sys.addaudithook(killer.audit)
    shards, out, options = run
    try:
        train.run(shards, (), out, options)
    except ClipsieveError as error:
        sys.exit(error.exit_status)
