"""Rows of a table by uid, however many: arrays on the local disk, sorted by uid, that every process maps into memory.

blocks of rows -> by uid (spill.py) -> uids.npy, starts.npy, sizes.npy
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from fsspec.implementations.local import LocalFileSystem

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.training.data.columns import ColumnWriter
from clipsieve.training.data.spill import SortedRows

ROW = np.dtype([("uid", "S16"), ("start", "<i8"), ("size", "<i4")])
"""A row of the table: its uid, and where what it holds begins in a file next to the index, and how much it is."""
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
    """Write the index of rows of `ROW` into ``folder``, in bounded memory.

    Raises InputError, naming the ``source``, where there is no row, or two have one uid.
    """
    first = np.zeros(0, "S16")
    with TemporaryDirectory(dir=folder) as spilled:
        ordered = SortedRows(Path(spilled), ROW, lambda: first)
        for block in blocks:
            first = first if len(first) else block["uid"]
            ordered.add(block)
        with ExitStack() as opened:
            columns = {
                field: opened.enter_context(ColumnWriter(folder / f"{name}.npy", np.dtype(dtype)))
                for name, (field, dtype) in _ARRAYS.items()
            }
            for rows in ordered.blocks():
                for field, column in columns.items():
                    column.append(rows[field])
    if ordered.repeated:
        raise InputError(f"{source}: two rows have the uid {ordered.first_repeated}; leave one")
    if not len(columns["uid"]):
        raise InputError(f"{source}: no row with a value there")


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
