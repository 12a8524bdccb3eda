"""How long training stands still for a checkpoint of 0.4 GB: for the copy of the state, and while a thread writes it.

The main thread takes small steps, and what counts is the longest time between two of them. The peer is
``safetensors.torch.save`` in a thread; a thread that compresses says how long the machine itself keeps a step waiting.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import safetensors.torch
import torch

from benchmarks.timing import Contender, Measured, Row, compare
from clipsieve.schemas.tensors import write_tensors
from clipsieve.training.checkpoint import gathered

TENSORS, SIDE = 100, 1000
BYTES = TENSORS * SIDE * SIDE * 4
RUNS = 5


def run(scratch: Path) -> list[Row]:
    """Standstills of the main thread; a rate of 10 is a tenth of a second."""
    state = {f"layer {number}": torch.randn(SIDE, SIDE) for number in range(TENSORS)}
    copies = gathered(state, is_first=True)
    contenders = [
        Contender("clipsieve, while it writes", lambda out: _beside(lambda: write_tensors(f"{out}/state", copies))),
        Contender("clipsieve, for the copy before", lambda _: _copy(state, copies)),
        Contender("safetensors.torch.save", lambda out: _beside(partial(_save, copies, out))),
        Contender("beside zlib", lambda _: _beside(_compress)),
    ]
    return compare("checkpoint", "standstills", contenders, RUNS)


def _copy(state: dict[str, torch.Tensor], copies: dict[str, torch.Tensor]) -> Measured:
    start = time.perf_counter()
    gathered(state, True, copies)
    return Measured(1, time.perf_counter() - start)


def _save(state: dict[str, torch.Tensor], out: Path) -> None:
    (out / "state").write_bytes(safetensors.torch.save(state))


def _compress() -> None:
    zlib.compress(bytes(BYTES // 8))


def _beside(work: Callable[[], None]) -> Measured:
    """The longest step of this thread while another does the work."""
    left, right = torch.randn(64, 64), torch.randn(64, 64)
    thread = threading.Thread(target=work)
    longest, last = 0.0, time.perf_counter()
    thread.start()
    while thread.is_alive():
        torch.mm(left, right)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return Measured(1, longest)
