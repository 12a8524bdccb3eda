"""Writes a run's checkpoints while training goes on, and keeps the last and the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType

import torch

from clipsieve.schemas import files
from clipsieve.schemas.tensors import write_tensors
from clipsieve.schemas.threads import Future, open_pool
from clipsieve.training.checkpoint import (
    METADATA_KEY,
    CheckpointHeader,
    Progress,
    checkpoint_path,
    checkpoint_paths,
    gathered,
    read_header,
    state_of,
)


class CheckpointWriter:
    """Writes checkpoints in a thread of the first process, at most one at a time.

    What cannot be written raises ClipsieveError at the next call, or where the ``with`` block ends; the checkpoints
    before stay as they are.
    """

    def __init__(self, out: str, minutes: float, is_first: bool) -> None:
        self._out, self._seconds, self._is_first = out, minutes * 60, is_first
        self._saved = time.monotonic()
        self._pool = open_pool(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._copies: dict[str, torch.Tensor] = {}
        """What is being written; the next checkpoint is copied into the same memory."""
        self._kept = {path: read_header(path).progress for path in checkpoint_paths(out)} if is_first else {}

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.shutdown()
        if error is None:
            self.wait()

    @property
    def is_due(self) -> bool:
        """Whether more than the given minutes went by since the last checkpoint; of the first process."""
        return self._is_first and time.monotonic() - self._saved > self._seconds

    def reserve(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Begin to make room for copies of the state, which takes longer than to copy it; once there is all of it."""
        if self._is_first:
            self._writing = self._pool.submit(self._make_room, state_of(model, optimizer))

    def save(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        header: CheckpointHeader,
        before: Callable[[], None],
    ) -> None:
        """Copy the state, and begin to write it once the thread has called ``before``; every process calls this.

        It waits for the checkpoint before.
        """
        self.wait()
        gathered(state_of(model, optimizer), self._is_first, self._copies)
        if self._is_first:
            self._saved = time.monotonic()
            self._writing = self._pool.submit(self._write, header, before)

    def wait(self) -> None:
        """Until what was begun is written."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _make_room(self, state: Mapping[str, torch.Tensor]) -> None:
        for name, tensor in state.items():
            # Zeros are written, and so bring each page.
            room = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=tensor.is_cuda)
            self._copies[name] = room.zero_()

    def _write(self, header: CheckpointHeader, before: Callable[[], None]) -> None:
        before()
        path = checkpoint_path(self._out, header.progress.steps)
        write_tensors(path, self._copies, {METADATA_KEY: header.model_dump_json()})
        self._kept[path] = header.progress
        for old in set(self._kept) - kept_of(self._kept):
            files.remove(old)
            del self._kept[old]


def kept_of(saved: Mapping[str, Progress]) -> set[str]:
    """Of checkpoints by name, the last one and the one of the least average loss."""
    last = max(saved, key=lambda name: saved[name].steps)
    best = min(saved, key=lambda name: (_loss(saved[name]), -saved[name].steps))
    return {last, best}


def _loss(progress: Progress) -> float:
    return float("inf") if progress.loss_average is None else progress.loss_average
