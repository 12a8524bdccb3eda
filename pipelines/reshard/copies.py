"""Copying samples from tars to a tar by byte range, decoding nothing.

samples in their order -> batches, asked for ahead, read one by one -> the tar and its digest
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import xxhash
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from clipsieve.pipelines.shards.tars import end_of_archive, is_sample, rename_members
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.threads import map_ahead

_BATCH_BYTES = 1 << 20
"""Read and written at a time on the local disk: from a core's cache a write takes a third of the time."""
_ASKED_AHEAD = 32
"""Batches that the system reads from the disk meanwhile, where they are not in its cache."""
_REMOTE_BATCH_BYTES = 16 << 20
_READ_AHEAD = 2
"""Of an object store, whose answers take their time."""
_OPEN_TARS = 64


@dataclass(frozen=True)
class Ranges:
    """Samples in the order in which they are to be written."""

    paths: list[str]
    """The tar of each."""
    keys: list[str]
    """Its key there."""
    starts: np.ndarray
    """int64[N]: its first byte there."""
    sizes: np.ndarray
    """int64[N]: its bytes, padding included."""
    new_keys: list[str]
    """Its key in the new tar; where it is the old one, the sample is copied byte for byte."""

    @property
    def offsets(self) -> np.ndarray:
        """int64[N]: where each begins in the new tar."""
        return np.cumsum(self.sizes) - self.sizes

    def __getitem__(self, part: slice) -> Ranges:
        return Ranges(self.paths[part], self.keys[part], self.starts[part], self.sizes[part], self.new_keys[part])


_Task = tuple[Ranges, memoryview]
"""A batch, and the buffer to read it into."""


def copy_samples(ranges: Ranges, tar: str) -> str:
    """Write the samples as the tar at path ``tar``; returns its hex XXH3.

    Raises InputError where a range is not that of a sample with its key.
    """
    digest = xxhash.xxh3_128()
    end = end_of_archive(int(ranges.sizes.sum()))
    is_local = isinstance(files.filesystem(ranges.paths[0])[0], LocalFileSystem)
    with files.atomic_write(tar) as stream, (_local if is_local else _remote)(ranges) as batches:
        for data in itertools.chain(batches, [memoryview(end)]):
            digest.update(data)
            stream.write(data)
    return digest.hexdigest()


@contextmanager
def _local(ranges: Ranges) -> Iterator[Iterator[memoryview]]:
    """The samples' bytes, batch by batch, all in one buffer."""
    with _OpenTars() as tars:
        yield (_read(task, tars.fill) for task in _asked_ahead(_batches(ranges, _BATCH_BYTES, buffers=1), tars))


@contextmanager
def _remote(ranges: Ranges) -> Iterator[Iterator[memoryview]]:
    """The samples' bytes, batch by batch, asked for ahead."""
    fs, _ = files.filesystem(ranges.paths[0])
    read = partial(_read, fill=partial(_fill_remote, fs))
    tasks = _batches(ranges, _REMOTE_BATCH_BYTES, buffers=_READ_AHEAD)
    with closing(map_ahead(read, tasks, threads=1, ahead=_READ_AHEAD)) as batches:
        yield batches


def _batches(ranges: Ranges, size: int, buffers: int) -> Iterator[_Task]:
    """Batches of about ``size`` bytes, each with a buffer for them, which is that of the batch ``buffers`` before it.

    A new buffer's pages would cost as much as the reading.
    """
    cuts = [0, *(np.flatnonzero(np.diff(ranges.offsets // size)) + 1).tolist(), len(ranges.keys)]
    batches = [ranges[start:stop] for start, stop in itertools.pairwise(cuts)]
    most = max(int(batch.sizes.sum()) for batch in batches)
    yield from zip(batches, itertools.cycle([memoryview(bytearray(most)) for _ in range(buffers)]), strict=False)


def _asked_ahead(tasks: Iterator[_Task], tars: _OpenTars) -> Iterator[_Task]:
    """The tasks in their order, each handed on when those behind it have been asked for."""
    asked: deque[_Task] = deque()
    for task in tasks:
        tars.ask(task[0])
        asked.append(task)
        if len(asked) > _ASKED_AHEAD:
            yield asked.popleft()
    yield from asked


def _read(task: _Task, fill: Callable[[Ranges, list[memoryview]], list[int]]) -> memoryview:
    """The samples' bytes, one after another, under their new keys; ``fill`` reads each into its piece of the buffer."""
    batch, buffer = task
    ends = np.cumsum(batch.sizes).tolist()
    pieces = [buffer[end - size : end] for end, size in zip(ends, batch.sizes.tolist(), strict=True)]
    sizes = fill(batch, pieces)
    for index, (piece, key, new_key) in enumerate(zip(pieces, batch.keys, batch.new_keys, strict=True)):
        if sizes[index] != len(piece) or not is_sample(piece, key):
            where = f"{batch.paths[index]}: no sample {key} at byte {batch.starts[index]}"
            raise InputError(f"{where}; the tar is not the one its Parquet describes")
        if key != new_key:
            rename_members(piece, new_key)
    return buffer[: ends[-1]]


class _OpenTars:
    """The local tars that were read last, open."""

    def __init__(self) -> None:
        self._descriptors: dict[str, int] = {}

    def __enter__(self) -> _OpenTars:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def ask(self, batch: Ranges) -> None:
        """Have the system begin to read the ranges."""
        if hasattr(os, "posix_fadvise"):
            for path, start, size in zip(batch.paths, batch.starts.tolist(), batch.sizes.tolist(), strict=True):
                os.posix_fadvise(self._descriptor(path), start, size, os.POSIX_FADV_WILLNEED)

    def fill(self, batch: Ranges, pieces: list[memoryview]) -> list[int]:
        """Read each range into its piece; returns how many bytes came."""
        each = zip(batch.paths, pieces, batch.starts.tolist(), strict=True)
        return [os.preadv(self._descriptor(path), [piece], start) for path, piece, start in each]

    def _descriptor(self, path: str) -> int:
        descriptor = self._descriptors.pop(path, None)
        if descriptor is None:
            if len(self._descriptors) >= _OPEN_TARS:
                os.close(self._descriptors.pop(next(iter(self._descriptors))))
            descriptor = os.open(files.filesystem(path)[1], os.O_RDONLY)
        self._descriptors[path] = descriptor  # as the last
        return descriptor


def _fill_remote(fs: AbstractFileSystem, batch: Ranges, pieces: list[memoryview]) -> list[int]:
    paths = [files.filesystem(path)[1] for path in batch.paths]
    ends = (batch.starts + batch.sizes).tolist()
    read = fs.cat_ranges(paths, batch.starts.tolist(), ends, on_error="raise")
    for piece, data in zip(pieces, read, strict=True):
        piece[: len(data)] = data
    return [len(data) for data in read]
