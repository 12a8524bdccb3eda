"""Other captions for the pairs of a run, from tables that have them by uid: `clipsieve train --texts`.

``TABLE:COLUMN=WEIGHT`` names a column of a Parquet file, or of a folder of them; ``caption=WEIGHT`` the pair's own
caption, whose weight is 0 unless it is given. Of each sample the caption is drawn by its place in the stream, in the
proportion of the weights. A pair of which the table drawn has no text, or an empty one, keeps its own caption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import input_digest
from clipsieve.schemas.members import as_strings
from clipsieve.schemas.text_buffers import text_bytes
from clipsieve.schemas.uid import uid_bytes
from clipsieve.training.data.side_index import ROW, UidIndex, built_once, side_folder, write_index

_OWN = "caption"
_TEXTS_NAME = "texts.bin"
_STREAM = 3 << 30
"""Keeps the draw of a caption apart from the others of its place in the stream."""

UidsOf = Callable[[np.ndarray], np.ndarray]
"""Indices int64[N] of a plan -> the pairs' uids, bytes[N] of 16."""


@dataclass(frozen=True)
class TextSource:
    """A column of captions, and how often it is drawn; no path: the pairs' own."""

    path: str | None
    column: str
    weight: float

    @property
    def name(self) -> str:
        """How a manifest calls it, wherever it lies."""
        where = f"{files.name_of(self.path)}:{self.column}" if self.path else _OWN
        return f"{where}={self.weight:g}"

    @property
    def digest(self) -> str:
        return input_digest(self.path) if self.path else "the pairs' own"


def parse_texts(specs: Sequence[str]) -> list[TextSource]:
    """The sources that ``texts`` names. Raises InputError for one that cannot be read so, and where nothing is left."""
    sources = [_parse(spec) for spec in specs]
    names = [(source.path, source.column) for source in sources]
    if len(set(names)) < len(names):
        raise InputError(f"`texts` {' '.join(specs)}: a column is named twice")
    if specs and not any(source.path and source.weight for source in sources):
        raise InputError(f"`texts` {' '.join(specs)}: name a column of a table, as TABLE:COLUMN=WEIGHT")
    return sources


def text_inputs(specs: Sequence[str]) -> dict[str, str]:
    """The digests of the tables, by their names with column and weight, in their order, which the draws depend on."""
    return {f"texts {number} {source.name}": source.digest for number, source in enumerate(parse_texts(specs), 1)}


def build_texts(specs: Sequence[str], out: str) -> None:
    """Write what `Captions` reads, unless it is there; one process calls it. Raises InputError for a wrong table."""
    for number, source in enumerate(parse_texts(specs)):
        if source.path:
            digest = f"{source.digest} {source.column}"
            built_once(out, _folder_name(number), digest, _Builder(source.path, source.column))


class Captions:
    """The captions of a run's samples. Safe to call from several threads."""

    def __init__(self, specs: Sequence[str], out: str, uids_of: UidsOf, seed: int) -> None:
        """Open what `build_texts` left in ``out``; a copy in another process opens it too."""
        self._opened = specs, out, uids_of, seed
        sources = parse_texts(specs)
        self._uids_of, self._seed = uids_of, seed
        self._tables = [_Texts(out, number) if source.path else None for number, source in enumerate(sources)]
        self._ends = np.cumsum([source.weight for source in sources])

    def __call__(self, index: int, position: int) -> str | None:
        """The caption of the sample ``index`` of the plan at this position of the stream; None: its own."""
        draw = np.random.default_rng((self._seed, position, _STREAM)).random() * self._ends[-1]
        table = self._tables[int(np.searchsorted(self._ends, draw, "right"))]
        return table.text(self._uids_of(np.array([index]))) if table else None

    def __reduce__(self) -> tuple[type[Captions], tuple[Sequence[str], str, UidsOf, int]]:
        return Captions, self._opened

    def lacking(self, pairs: int) -> int:
        """Of so many pairs of the plan, how many have no text in one of the tables."""
        tables_ = [table for table in self._tables if table]
        return sum(
            int(np.count_nonzero(np.any([table.index.find(uids) < 0 for table in tables_], axis=0)))
            for uids in uid_blocks(self._uids_of, pairs)
        )


def uid_blocks(uids_of: UidsOf, pairs: int) -> Iterator[np.ndarray]:
    """The uids of all pairs of a plan, some at a time."""
    for start in range(0, pairs, tables.ROW_GROUP_ROWS):
        yield uids_of(np.arange(start, min(pairs, start + tables.ROW_GROUP_ROWS)))


def table_paths(path: str) -> list[str]:
    """A Parquet file, or those of a folder; InputError where there is none."""
    fs, inner = files.filesystem(path)
    paths = files.list_files(path, ".parquet") if fs.isdir(inner) else [path]
    if not paths:
        raise InputError(f"{path}: no Parquet file there")
    return paths


class _Texts:
    """One column's texts by uid."""

    def __init__(self, out: str, number: int) -> None:
        folder = side_folder(out) / _folder_name(number)
        self.index = UidIndex(folder)
        self._texts = np.memmap(folder / _TEXTS_NAME, np.uint8, "r")

    def text(self, uids: np.ndarray) -> str | None:
        """Of one uid, bytes[1] of 16."""
        (row,) = self.index.find(uids)
        if row < 0:
            return None
        start = int(self.index.starts[row])
        return self._texts[start : start + int(self.index.sizes[row])].tobytes().decode()


@dataclass(frozen=True)
class _Builder:
    path: str
    column: str

    def __call__(self, folder: Path) -> None:
        with (folder / _TEXTS_NAME).open("wb") as stream:
            write_index(folder, self._blocks(stream), f"{self.path}: column {self.column!r}")

    def _blocks(self, stream: IO[bytes]) -> Iterator[np.ndarray]:
        start = 0
        for path in table_paths(self.path):
            for batch in tables.iter_batches(path, tables.SUBSET, ["uid", self.column]):
                texts = _as_text(batch[self.column], self.column, path)
                is_given = pc.greater(pc.binary_length(texts), 0)
                texts, uids = texts.filter(is_given), batch["uid"].filter(is_given)
                rows = np.empty(len(texts), ROW)
                rows["uid"] = as_strings(uid_bytes(uids))
                rows["size"] = pc.binary_length(texts).to_numpy()
                rows["start"] = start + np.cumsum(rows["size"]) - rows["size"]
                start += int(rows["size"].sum())
                stream.write(text_bytes(texts))
                yield rows


def _parse(spec: str) -> TextSource:
    named, _, weight = spec.rpartition("=")
    path, _, column = named.rpartition(":")
    try:
        share = float(weight)
    except ValueError:
        share = -1.0
    if not 0 <= share < float("inf") or not column or (not path and column != _OWN):
        raise InputError(
            f"`texts` {spec!r}: not TABLE:COLUMN=WEIGHT, nor {_OWN}=WEIGHT for the pairs' own captions; a weight is 0 "
            "or more"
        )
    return TextSource(path or None, column, share)


def _folder_name(number: int) -> str:
    return f"texts_{number}"


def _as_text(column: pa.Array, name: str, path: str) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):  # of a part of a folder that has no text of this column
        column = column.cast(pa.string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise InputError(f"{path}: column {name!r} holds {column.type}, not text")
    return pc.fill_null(column, "")
