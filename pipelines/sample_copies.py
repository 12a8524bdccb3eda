"""Copying samples from tars to a tar by byte range, decoding nothing.

samples in their order -> batches of about 2 MiB, read a few ahead -> the tar and its digest
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import xxhash
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from pipelines.tars import end_of_archive, is_sample, rename_members
from schemas import files
from schemas.errors import InputError
from schemas.streams import map_ahead

_BATCH_BYTES = 2 << 20
_READ_AHEAD = 4


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


def copy_samples(ranges: Ranges, tar: str) -> str:
    """Write the samples as the tar at path ``tar``; returns its hex XXH3.

    Raises InputError where a range is not that of a sample with its key.
    """
    digest = xxhash.xxh3_128()
    end = end_of_archive(int(ranges.sizes.sum()))
    with ThreadPoolExecutor(1) as reader, files.atomic_write(tar) as stream:
        for data in itertools.chain(map_ahead(reader, _read, _batches(ranges), _READ_AHEAD), [memoryview(end)]):
            digest.update(data)
            stream.write(data)
    return digest.hexdigest()


def _batches(ranges: Ranges) -> Iterator[tuple[Ranges, memoryview]]:
    """Batches, each with a buffer for its bytes: that of the batch `_READ_AHEAD` before it, which is written by then.

    A new buffer's pages would cost as much as the reading.
    """
    cuts = [0, *(np.flatnonzero(np.diff(ranges.offsets // _BATCH_BYTES)) + 1).tolist(), len(ranges.keys)]
    batches = [ranges[start:stop] for start, stop in itertools.pairwise(cuts)]
    most = max(int(batch.sizes.sum()) for batch in batches)
    buffers = itertools.cycle([memoryview(bytearray(most)) for _ in range(_READ_AHEAD)])
    yield from zip(batches, buffers, strict=False)


def _read(task: tuple[Ranges, memoryview]) -> memoryview:
    """The samples' bytes, one after another, under their new keys."""
    batch, buffer = task
    ends = np.cumsum(batch.sizes).tolist()
    pieces = [buffer[end - size : end] for end, size in zip(ends, batch.sizes.tolist(), strict=True)]
    fs, _ = files.filesystem(batch.paths[0])
    sizes = _fill_local(batch, pieces) if isinstance(fs, LocalFileSystem) else _fill_remote(fs, batch, pieces)
    for index, (piece, key, new_key) in enumerate(zip(pieces, batch.keys, batch.new_keys, strict=True)):
        if sizes[index] != len(piece) or not is_sample(piece, key):
            where = f"{batch.paths[index]}: no sample {key} at byte {batch.starts[index]}"
            raise InputError(f"{where}; the tar is not the one its Parquet describes")
        if key != new_key:
            rename_members(piece, new_key)
    return buffer[: ends[-1]]


def _fill_local(batch: Ranges, pieces: list[memoryview]) -> list[int]:
    """Read each range into its piece, a tar after another, from front to back; returns how many bytes came."""
    filled, starts = [0] * len(pieces), batch.starts.tolist()
    in_order = sorted(range(len(pieces)), key=lambda index: (batch.paths[index], starts[index]))
    for path, indices in itertools.groupby(in_order, batch.paths.__getitem__):
        descriptor = os.open(files.filesystem(path)[1], os.O_RDONLY)
        try:
            for index in indices:
                filled[index] = os.preadv(descriptor, [pieces[index]], starts[index])
        finally:
            os.close(descriptor)
    return filled


def _fill_remote(fs: AbstractFileSystem, batch: Ranges, pieces: list[memoryview]) -> list[int]:
    paths = [files.filesystem(path)[1] for path in batch.paths]
    ends = (batch.starts + batch.sizes).tolist()
    read = fs.cat_ranges(paths, batch.starts.tolist(), ends, on_error="raise")
    for piece, data in zip(pieces, read, strict=True):
        piece[: len(data)] = data
    return [len(data) for data in read]
