"""Rows of a table by uid, however many: arrays on the local disk, sorted by uid, that every process maps into memory.

blocks of rows -> a file for each first byte of a uid -> each in turn, sorted -> uids.npy, starts.npy, sizes.npy
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from fsspec.implementations.local import LocalFileSystem
from numpy.lib.format import open_memmap

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import as_raw
from clipsieve.schemas.uid import uid_strings

ROW = np.dtype([("uid", "S16"), ("start", "<i8"), ("size", "<i4")])
"""A row of the table: its uid, and where what it holds begins in a file next to the index, and how much it is."""
_BUCKETS = 256
_FOLDER = "side"
_DIGEST = "digest"


class UidIndex:
    """The index that `write_index` left in a folder, mapped into memory."""

    def __init__(self, folder: Path) -> None:
        self._uids, self.starts, self.sizes = (np.load(folder / f"{name}.npy", "r") for name in _ARRAYS)

    def __len__(self) -> int:
        return len(self._uids)

    def find(self, uids: np.ndarray) -> np.ndarray:
        """bytes[N] of 16 -> int64[N]: the row of each uid, -1 of one that has none."""
        rows = np.minimum(np.searchsorted(self._uids, uids), len(self) - 1)
        return np.where(self._uids[rows] == uids, rows, -1)


_ARRAYS = {"uids": ("uid", "S16"), "starts": ("start", "<i8"), "sizes": ("size", "<i4")}
"""The files of an index: each a field of `ROW`."""


def write_index(folder: Path, blocks: Iterable[np.ndarray], source: str) -> None:
    """Write the index of rows of `ROW` into ``folder``; memory holds a block, and a 256th of all rows.

    Raises InputError, naming the ``source``, where there is no row, or two have one uid.
    """
    with TemporaryDirectory(dir=folder) as parts:
        count = sum(_spill(block, Path(parts)) for block in blocks)
        if not count:
            raise InputError(f"{source}: no row with a value there")
        arrays = {
            field: open_memmap(folder / f"{name}.npy", "w+", dtype, (count,))
            for name, (field, dtype) in _ARRAYS.items()
        }
        start = 0
        for path in sorted(Path(parts).iterdir()):
            rows = np.fromfile(path, ROW)
            rows = rows[np.argsort(rows["uid"], kind="stable")]
            _refuse_repeats(rows["uid"], source)
            for field, array in arrays.items():
                array[start : start + len(rows)] = rows[field]
            start += len(rows)


def built_once(out: str, name: str, digest: str, build: Callable[[Path], None]) -> Path:
    """The folder ``name`` that ``build`` fills for the run ``out``; one that was filled from the same input stays."""
    folder = side_folder(out) / name
    if (folder / _DIGEST).is_file() and (folder / _DIGEST).read_text() == digest:
        return folder
    begun = folder.with_name(f"{name}.part")
    for path in (folder, begun):
        shutil.rmtree(path, ignore_errors=True)
    begun.mkdir(parents=True)
    build(begun)
    (begun / _DIGEST).write_text(digest)
    return begun.rename(folder)


def side_folder(out: str) -> Path:
    """Where a run keeps its side tables until it is done."""
    fs, inner = files.filesystem(out)
    if not isinstance(fs, LocalFileSystem):
        raise InputError(f"{out}: side tables are mapped into memory: with `texts` or `teacher`, `out` has to be local")
    return Path(inner) / _FOLDER


def _spill(block: np.ndarray, folder: Path) -> int:
    buckets = as_raw(np.ascontiguousarray(block["uid"]))[:, 0]
    ordered = block[np.argsort(buckets, kind="stable")]
    ends = np.cumsum(np.bincount(buckets, minlength=_BUCKETS))
    for bucket, part in enumerate(np.split(ordered, ends[:-1])):
        if len(part):
            with (folder / f"{bucket:03d}").open("ab") as stream:
                part.tofile(stream)
    return len(block)


def _refuse_repeats(uids: np.ndarray, source: str) -> None:
    is_repeated = uids[1:] == uids[:-1]
    if is_repeated.any():
        first = uid_strings(as_raw(uids[1:][is_repeated][:1]))[0]
        raise InputError(f"{source}: two rows have the uid {first}; leave one")
