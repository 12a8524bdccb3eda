"""Copying samples from tars to a tar by byte range, decoding nothing.

samples in their order -> batches, requested ahead, read one by one -> the tar and its digest
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import xxhash
from fsspec.implementations.local import LocalFileSystem

from clipsieve.pipelines.shards.tars import end_of_archive, is_sample, rename_members
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.ranges import Range, RangeReader
from clipsieve.schemas.threads import map_ahead

_BATCH_BYTES = 1 << 20
"""Read and written at a time on the local disk: from a core's cache a write takes a third of the time."""
_ASKED_AHEAD = 32
"""Batches that the system reads from the disk meanwhile, where they are not in its cache."""
_REMOTE_BATCH_BYTES = 16 << 20
_READ_AHEAD = 2
"""Of an object store, whose answers take their time."""


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

    @cached_property
    def places(self) -> list[Range]:
        """Where each is read."""
        return list(zip(self.paths, self.starts.tolist(), self.sizes.tolist(), strict=True))

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
    reader = RangeReader()
    tasks = _asked_ahead(_batches(ranges, _BATCH_BYTES, buffers=1), reader)
    yield (_read(task, reader) for task in tasks)


@contextmanager
def _remote(ranges: Ranges) -> Iterator[Iterator[memoryview]]:
    """The samples' bytes, batch by batch, requested ahead."""
    read = partial(_read, reader=RangeReader())
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


def _asked_ahead(tasks: Iterator[_Task], reader: RangeReader) -> Iterator[_Task]:
    """The tasks in their order, each handed on when those after it have been requested."""
    asked: deque[_Task] = deque()
    for task in tasks:
        reader.prefetch(task[0].places)
        asked.append(task)
        if len(asked) > _ASKED_AHEAD:
            yield asked.popleft()
    yield from asked


def _read(task: _Task, reader: RangeReader) -> memoryview:
    """The samples' bytes, one after another, under their new keys."""
    batch, buffer = task
    ends = np.cumsum(batch.sizes).tolist()
    pieces = [buffer[end - size : end] for end, size in zip(ends, batch.sizes.tolist(), strict=True)]
    sizes = reader.read_into(batch.places, pieces)
    for index, (piece, key, new_key) in enumerate(zip(pieces, batch.keys, batch.new_keys, strict=True)):
        if sizes[index] != len(piece) or not is_sample(piece, key):
            where = f"{batch.paths[index]}: no sample {key} at byte {batch.starts[index]}"
            raise InputError(f"{where}; the tar is not the one its Parquet describes")
        if key != new_key:
            rename_members(piece, new_key)
    return buffer[: ends[-1]]
