"""Takedown in tables of pairs: their rows leave Parquet files, the embeddings next to scores, and subsets' npy."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipsieve.pipelines.takedown.plan import iter_npy
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import find
from clipsieve.schemas.uid import UID_U64_PAIR, from_u64_pairs, uid_bytes


def take_from_file(path: str, uids: np.ndarray) -> None:
    """Take the pairs ``uids``, bytes[N] of 16, ascending, out of a Parquet with uid, or out of a subset's npy.

    An npz next to the Parquet has a row for each of its rows, and is written first; done twice it is as done once.
    """
    if path.endswith(".npy"):
        _take_from_npy(path, uids)
        return
    embeddings = path.removesuffix(".parquet") + ".npz"
    if files.exists(embeddings):
        _take_from_npz(embeddings, path, uids)
    tables.filter_rows(path, lambda rows: ~_is_named(rows, uids))


def blank_file(path: str, uid_column: str, uids: np.ndarray) -> None:
    """Null all but the uid, which is in ``uid_column``, in those rows of a Parquet that are of the pairs ``uids``."""
    with tables.open_parquet(path) as parquet:
        rows = parquet.read()
    is_named = pa.array(find(uids, uid_bytes(rows[uid_column])))
    if not pc.any(is_named).as_py():
        return
    columns = [
        column if name == uid_column else pc.if_else(is_named, pa.scalar(None, column.type), column)
        for name, column in zip(rows.column_names, rows.columns, strict=True)
    ]
    blanked = pa.table(columns, pa.schema([field.with_nullable(True) for field in rows.schema]))
    with files.atomic_write(path) as stream:
        pq.write_table(blanked, stream, compression="zstd")


def _is_named(rows: pa.RecordBatch | pa.Table, uids: np.ndarray) -> np.ndarray:
    return find(uids, uid_bytes(rows["uid"]))


def _take_from_npz(path: str, parquet: str, uids: np.ndarray) -> None:
    is_kept = ~_is_named(tables.read_table(parquet, tables.SCORES, ["uid"]), uids)
    with np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False) as stored:
        arrays = dict(stored)
    lengths = {len(array) for array in arrays.values()}
    if lengths == {int(is_kept.sum())}:
        return
    if lengths != {len(is_kept)}:
        raise InputError(f"{path}: has {sorted(lengths)} rows, {parquet} {len(is_kept)}; make both again")
    stream = io.BytesIO()
    np.savez(stream, **{name: array[is_kept] for name, array in arrays.items()})
    files.write_bytes(path, stream.getvalue())


def _take_from_npy(path: str, uids: np.ndarray) -> None:
    kept = sum(int((~find(uids, from_u64_pairs(block))).sum()) for block in iter_npy(path))
    with files.atomic_write(path) as stream:
        header = {"descr": UID_U64_PAIR.descr, "fortran_order": False, "shape": (kept,)}
        np.lib.format.write_array_header_1_0(stream, header)
        for block in iter_npy(path):
            stream.write(block[~find(uids, from_u64_pairs(block))].tobytes())
