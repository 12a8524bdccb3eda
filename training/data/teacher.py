"""A teacher's stored embeddings of the pairs of a run, by uid: `clipsieve train --teacher`.

They are what `clipsieve score --embeddings` writes under its first reference: ``NNNNN.parquet`` with a uid a row, and
``NNNNN.npz`` next to it with ``img`` and ``txt``, float16[N, D] of unit length. No image is read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import input_digest
from clipsieve.schemas.members import as_strings
from clipsieve.schemas.uid import uid_bytes
from clipsieve.training.data.captions import UidsOf, table_paths, uid_blocks
from clipsieve.training.data.side_index import ROW, UidIndex, built_once, side_folder, write_index

_NAME = "teacher"
_EMBEDDINGS_NAME = "embeddings.bin"
_ARRAYS = ("img", "txt")


def build_teacher(folder: str, out: str) -> None:
    """Write what `Teacher` reads, unless it is there; one process calls it. Raises InputError for wrong embeddings."""

    def build(begun: Path) -> None:
        with (begun / _EMBEDDINGS_NAME).open("wb") as stream:
            write_index(begun, _blocks(folder, stream), folder)

    built_once(out, _NAME, input_digest(folder), build)


class Teacher:
    """The embeddings of a run's samples. Safe to call from several threads."""

    def __init__(self, out: str, uids_of: UidsOf) -> None:
        """Open what `build_teacher` left in ``out``; a copy in another process opens it too."""
        self._opened = out, uids_of
        folder = side_folder(out) / _NAME
        self._uids_of, self._index = uids_of, UidIndex(folder)
        width = int(self._index.sizes[0])
        self._embeddings = np.memmap(folder / _EMBEDDINGS_NAME, np.float16, "r").reshape(-1, len(_ARRAYS), width)

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """float16[N, 2, D]: the embeddings of image and caption of each of the plan's samples; 0: there are none."""
        rows = self._index.find(self._uids_of(indices))
        found = np.zeros((len(rows), *self._embeddings.shape[1:]), np.float16)
        found[rows >= 0] = self._embeddings[self._index.starts[rows[rows >= 0]]]
        return found

    def __reduce__(self) -> tuple[type[Teacher], tuple[str, UidsOf]]:
        return Teacher, self._opened

    @property
    def shape(self) -> tuple[int, int]:
        """Of a pair's embeddings: those of image and caption, and their width."""
        return len(_ARRAYS), self._embeddings.shape[2]

    def lacking(self, pairs: int) -> int:
        """Of so many pairs of the plan, how many have no embeddings."""
        return sum(int(np.count_nonzero(self._index.find(uids) < 0)) for uids in uid_blocks(self._uids_of, pairs))


def _blocks(folder: str, stream: IO[bytes]) -> Iterator[np.ndarray]:
    """The rows of the index, part by part; their embeddings are written to ``stream`` in the order of the tables."""
    start, width = 0, None
    for path in table_paths(folder):
        uids = tables.read_table(path, tables.SUBSET, ["uid"])["uid"]
        found = _read(f"{path.removesuffix('.parquet')}.npz", len(uids))
        width = width or found.shape[2]
        if found.shape[2] != width:
            raise InputError(f"{path}: embeddings of {found.shape[2]} numbers, of {width} in the file before")
        rows = np.empty(len(uids), ROW)
        rows["uid"] = as_strings(uid_bytes(uids))
        rows["start"], rows["size"] = start + np.arange(len(uids)), width
        start += len(uids)
        found.tofile(stream)
        yield rows


def _read(path: str, rows: int) -> np.ndarray:
    """float16[N, 2, D] of a file of `clipsieve score --embeddings`."""
    if not files.exists(path):
        raise InputError(f"{path}: no such file; `teacher` is a folder of scores made with --embeddings")
    try:
        with np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False) as arrays:
            found = np.stack([arrays[name].astype(np.float16) for name in _ARRAYS], axis=1)
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise InputError(f"{path}: not embeddings, img and txt as `clipsieve score` writes them ({error})") from error
    if found.ndim != 3 or len(found) != rows:
        raise InputError(f"{path}: holds embeddings of shape {list(found.shape)}, not of the {rows} rows of its table")
    return found
