"""Downloads as commands in processes of their own, as a user runs them, and what they leave in their folders."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from tests.commands import CLIPSIEVE

SHARD_SIZE = 40
TIMES = {"started_at", "finished_at", "duration", "start_time", "end_time"}
"""Keys of the stats and the manifest that hold times."""


@dataclass(frozen=True)
class Job:
    """A download to run as often as a test likes."""

    pairs: Path
    address: str

    def command(self, out: Path, *flags: str) -> list[str]:
        options = (
            f"--shard-size {SHARD_SIZE} --image-size 64 --max-bytes 1000000 --concurrency 8 --attempts 1 --host-rate 80"
        )
        paths = ["--pairs", str(self.pairs), "--out", str(out), "--allow-host", self.address]
        return [CLIPSIEVE, "download", *paths, *options.split(), *flags]


@dataclass(frozen=True)
class Whole:
    """What a run that nothing disturbed wrote, how many bytes of a disk that takes, and how many seconds it took."""

    content: dict[str, Any]
    room: int
    seconds: float


def noisy_png(seed: int) -> bytes:
    pixels, stream = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8), io.BytesIO()
    Image.fromarray(pixels).resize((128, 96)).save(stream, "PNG")
    return stream.getvalue()


class Running:
    """A command at work in a process group of its own."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def ended(self) -> tuple[int, str]:
        """The exit status, and what was written next to the progress."""
        out, err = self.process.communicate(timeout=300)
        lines = [line for line in err.splitlines() if not line.startswith("download: ")]
        return self.process.returncode, out + "\n".join(lines)

    def until_at_work(self, out: Path) -> list[int]:
        """Wait until a shard in ``out`` is done and another begun; returns the ids of the worker processes."""

        def is_at_work() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            return any(out.glob("*_stats.json")) and any(out.glob(".*.tar.tmp.*"))

        wait_for(is_at_work)
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(word) for path in threads for word in path.read_text().split()]

    def kill_group(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@contextmanager
def begun(command: Sequence[str]) -> Iterator[Running]:
    """Begin a command; what is left of it when the block ends is killed."""
    running = Running(command)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill_group()


def finish(command: Sequence[str]) -> None:
    with begun(command) as running:
        status, words = running.ended()
        assert status == 0, words


def content(folder: Path) -> dict[str, Any]:
    """What each file of a folder holds, by name, times left out."""
    return {str(path.relative_to(folder)): _content_of(path) for path in folder.rglob("*") if path.is_file()}


def _content_of(path: Path) -> Any:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return table.drop_columns([name for name in table.column_names if name == "fetched_at"])
    if path.suffix == ".json":
        return {key: value for key, value in json.loads(path.read_bytes()).items() if key not in TIMES}
    return path.read_bytes()


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        threading.Event().wait(0.02)


def is_alive(process: int) -> bool:
    """Whether a process is there and not one that only waits for its parent to take notice of its end."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
