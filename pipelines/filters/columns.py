"""The pairs as rules see them: the columns of a score file, those of the shard of its name, and computed ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.pipelines.filters.signals import SIGNALS
from clipsieve.pipelines.pairs.table import CAPTION_NAMES
from clipsieve.pipelines.shards.rows import read_rows
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.uid import uid_bytes


@dataclass(frozen=True)
class Rows:
    """The pairs of one score file, in its order."""

    path: str
    """The score file's."""
    batch: pa.RecordBatch
    """``uid`` and the columns that were requested."""

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    @cached_property
    def raw_uids(self) -> np.ndarray:
        """uint8[N, 16]"""
        try:
            return uid_bytes(self.batch["uid"])
        except ValueError as error:
            raise InputError(f"{self.path}: column 'uid' holds a value that is not 32 hex digits") from error


@dataclass(frozen=True)
class PairColumns:
    """Where the pairs' columns are."""

    shards: str | None
    """Folder of shards, each named as its score file; None: the score files have all columns themselves."""
    targets: str | None = None
    """File or folder of the embeddings of a target set, for rules that compare with it."""
    drift: str | None = None
    """Folder of what `drift` wrote, each file named as its score file."""

    def read(self, path: str, columns: Iterable[str]) -> Rows:
        """The pairs of the score file at ``path`` with ``columns``, a computed one before one of the tables.

        Raises InputError for a column that is nowhere, and for a pair that is not in its shard.
        """
        columns = tuple(dict.fromkeys(columns))
        inputs = (SIGNALS[name].inputs if name in SIGNALS else (name,) for name in columns)
        table = self._read_inputs(path, tuple(dict.fromkeys(name for names in inputs for name in names)))
        arrays = {"uid": table["uid"].combine_chunks()}
        for name in columns:
            try:
                arrays[name] = _column(table, name)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise InputError(f"{path}: {name} cannot be computed: {str(error).splitlines()[0]}") from error
        return Rows(path, pa.RecordBatch.from_pydict(arrays))

    def _read_inputs(self, path: str, names: Sequence[str]) -> pa.Table:
        """``uid`` and the tables' own columns ``names``; a missing caption is an empty one."""
        with tables.open_parquet(path) as parquet:
            tables.check_columns(parquet.schema_arrow, tables.SCORES, path, ["uid"])
            here = {name: found for name in names if (found := _find(name, parquet.schema_arrow.names))}
            table = parquet.read(["uid", *here.values()], use_threads=False).select(["uid", *here.values()])
        table = table.rename_columns(["uid", *here])
        absent = [name for name in names if name not in here]
        if absent:
            for name, column in self._read_beside(path, table["uid"], absent).items():
                table = table.append_column(name, column)
        if "caption" in names:
            place = table.schema.get_field_index("caption")
            table = table.set_column(place, "caption", pc.fill_null(table["caption"].cast(pa.string()), ""))
        return table

    def _read_beside(self, path: str, uids: pa.ChunkedArray, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        """The columns ``names`` of the pairs ``uids``, of what `drift` wrote or else of the shard."""
        drifted = [name for name in names if name in tables.DRIFT.columns] if self.drift else []
        found: dict[str, pa.ChunkedArray] = {}
        if self.drift and drifted:
            drift_path = files.join(self.drift, files.name_of(path))
            rows = tables.read_table(drift_path, tables.DRIFT, ["uid", *drifted])
            taken = _take(rows, uids, drifted, path, drift_path, "compare these shards first, with `clipsieve drift`")
            found = {name: taken[name] for name in drifted}
        others = [name for name in names if name not in drifted]
        if others:
            of_shard = self._read_shard(path, uids, others)
            found |= {name: of_shard[name] for name in others}
        return found

    def _read_shard(self, path: str, uids: pa.ChunkedArray, names: Sequence[str]) -> pa.Table:
        """The columns ``names`` of the pairs ``uids`` in the shard of the score file's name."""
        if self.shards is None:
            flag = "--drift" if names[0] in tables.DRIFT.columns else "--shards"
            raise InputError(f"{path}: column {names[0]!r} is missing; name the folder that has it with {flag}")
        shard = files.name_of(path).removesuffix(".parquet")
        rows = read_rows(self.shards, shard)
        shard_path = files.join(self.shards, f"{shard}.parquet")
        missing = [name for name in names if name not in rows.schema.names]
        if missing:
            is_of_drift = missing[0] in tables.DRIFT.columns
            way_out = "name the folder that has it with --drift" if is_of_drift else "fix the rule"
            raise InputError(f"{shard_path}: column {missing[0]!r} is missing, and {path} lacks it too; {way_out}")
        return _take(rows, uids, names, path, shard_path, "score these shards first")


def _take(rows: pa.Table, uids: pa.ChunkedArray, names: Sequence[str], path: str, where: str, way_out: str) -> pa.Table:
    """The columns ``names`` of the ``rows`` of ``where`` that have the ``uids`` of the score file at ``path``."""
    places = pc.index_in(uids, value_set=rows["uid"].combine_chunks())
    if places.null_count:
        row = pc.index(pc.is_null(places), True).as_py() + 1
        raise InputError(f"{path}: row {row}: its uid is not in {where}; {way_out}")
    return rows.select(list(names)).take(places)


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in SIGNALS:
        return table[name].combine_chunks()
    signal = SIGNALS[name]
    return signal.compute(*(table[each].combine_chunks() for each in signal.inputs))


def _find(name: str, names: Sequence[str]) -> str | None:
    """What a column is called among ``names``: a caption has several names."""
    spellings = CAPTION_NAMES if name == "caption" else (name,)
    return next((spelling for spelling in spellings if spelling in names), None)
