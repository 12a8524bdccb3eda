"""The downloaded rows of a shard's table: whose samples they are, and where these lie in the tar."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import as_strings
from clipsieve.schemas.opt_out import OptOut
from clipsieve.schemas.outcomes import Status
from clipsieve.schemas.tables import SHARDS, check_columns, conform, open_parquet
from clipsieve.schemas.uid import uid_bytes
from clipsieve.training.data.plan_file import ROW

_COLUMNS = ("uid", "status", "tar_offset", "tar_size")
_MOST_BLOCKS = np.iinfo(np.uint32).max


@dataclass(frozen=True)
class Downloaded:
    """The downloaded rows of a shard."""

    uids: np.ndarray
    """bytes[N] of 16"""
    places: np.ndarray
    """`ROW` [N], of shard 0."""
    is_listed: np.ndarray
    """bool[N]: whether the opt-out list names them."""

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def end(self) -> int:
        """Where the last of the samples ends in the tar, in bytes."""
        ends = self.places["start"].astype(np.int64) + self.places["blocks"]
        return int(ends.max(initial=0)) * tarfile.BLOCKSIZE


def read_downloaded(path: str, opt_out: OptOut) -> Downloaded:
    """Read the table at ``path``. Raises InputError where it does not say where a sample is, or no tar can have one."""
    if not files.exists(path):
        raise _without_places(path)
    with open_parquet(path) as parquet:
        names = parquet.schema_arrow.names
        if not {"uid", "tar_offset", "tar_size"} <= set(names):
            raise _without_places(path)
        columns = [*_COLUMNS, *(name for name in opt_out.columns if name in names)]
        check_columns(parquet.schema_arrow, SHARDS, path, columns)
        table = conform(parquet.read(columns, use_threads=False), SHARDS, path, columns)
    table = table.filter(pc.equal(table["status"], Status.SUCCESS.value))
    if table["tar_offset"].null_count or table["tar_size"].null_count:
        raise InputError(f"{path}: a downloaded row lacks its tar_offset or tar_size; verify the shards")
    places = np.zeros(len(table), ROW)
    for name, column, least in (("start", "tar_offset", 0), ("blocks", "tar_size", 1)):
        places[name] = _blocks(table[column].to_numpy(), least, f"{path}: {column}")
    is_listed = opt_out.forbids_rows(table, path) if opt_out.path else np.zeros(len(table), bool)
    return Downloaded(_uid_strings(table["uid"], path), places, is_listed)


def _blocks(values: np.ndarray, least: int, where: str) -> np.ndarray:
    blocks, rest = np.divmod(values, tarfile.BLOCKSIZE)
    is_wrong = (rest != 0) | (blocks < least) | (blocks > _MOST_BLOCKS)
    if is_wrong.any():
        raise InputError(f"{where} {values[is_wrong][0]} is not one of a tar of at most 2 TiB; verify the shards")
    return blocks


def _without_places(path: str) -> InputError:
    return InputError(
        f"{path}: does not say where the samples are; of another tool's shards, train on an index "
        "(`clipsieve index`), or on a copy (`clipsieve reshard`)"
    )


def _uid_strings(uids: pa.ChunkedArray, path: str) -> np.ndarray:
    try:
        return as_strings(uid_bytes(uids))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: column 'uid' holds a value that is not 32 hex digits ({error})") from error
