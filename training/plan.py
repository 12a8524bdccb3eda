"""Which samples a run trains on, where they lie, and in which order: decided before step 0, from tables.

The plan holds 20 bytes a sample and the order 8 (twice at an epoch's border): 100M samples take 3.6 GB in
every process. A global random order wants a store with fast random reads: local disks rather than an object
store.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas import files
from schemas.errors import InputError
from schemas.members import as_raw, read_members
from schemas.opt_out import OptOut, load_opt_out
from schemas.outcomes import Status
from schemas.samples import list_shards
from schemas.tables import SHARDS, open_parquet, read_table
from schemas.uid import uid_bytes

_COLUMNS = ("uid", "key", "status", "tar_offset", "tar_size")
_UID_TYPE = pa.binary(16)


@dataclass(frozen=True)
class SamplePlan:
    """The samples of a run in the shards' order; a sample is known by its index here."""

    tars: tuple[str, ...]
    shard: np.ndarray
    """int32[N]: which of ``tars``."""
    offset: np.ndarray
    """int64[N]: the first byte of the sample's members in its tar."""
    size: np.ndarray
    """int64[N]: bytes from there to the end of its last member."""
    opted_out: int
    """How many samples were left out because the opt-out list names them."""

    def __len__(self) -> int:
        return len(self.offset)


def plan_samples(shards: str, subset: str | None, opt_out: str | None = None) -> SamplePlan:
    """The downloaded samples of a shards folder, or those of them whose uid a subset file holds.

    Those that the file ``opt_out`` lists are left out.
    Raises InputError when the subset holds a uid that no downloaded sample has, with their number.
    """
    members = None if subset is None else _fixed_binary(as_raw(read_members(subset)))
    met = np.zeros(0 if members is None else len(members), bool)
    tars: list[str] = []
    columns = []
    listed, opted_out = load_opt_out(opt_out), 0
    for name in list_shards(shards):
        uid, offset, size, is_listed = _downloaded(files.join(shards, f"{name}.parquet"), listed)
        if members is not None:
            found = pc.index_in(uid, value_set=members)
            kept = found.is_valid().to_numpy(zero_copy_only=False)
            met[found.drop_null().to_numpy()] = True
            offset, size, is_listed = offset[kept], size[kept], is_listed[kept]
        opted_out += int(is_listed.sum())
        offset, size = offset[~is_listed], size[~is_listed]
        columns.append((np.full(len(offset), len(tars), np.int32), offset, size))
        tars.append(files.join(shards, f"{name}.tar"))
    if members is not None and not met.all():
        first = members.filter(pa.array(~met))[0].as_py().hex()
        count = np.count_nonzero(~met)
        raise InputError(f"{subset}: {count} uids are of no downloaded sample in {shards}, the first {first}")
    shard, offset, size = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return SamplePlan(tuple(tars), shard, offset, size, opted_out)


def stream_slice(samples: int, seed: int, start: int, stop: int) -> np.ndarray:
    """int64[stop - start]: the plan's indices at these positions of the endless stream of epochs.

    Each epoch is one permutation of the whole plan, so every sample is seen once before any is seen again.
    """
    parts = []
    while start < stop:
        epoch, first = divmod(start, samples)
        last = min(samples, first + stop - start)
        parts.append(_epoch_order(samples, seed, epoch)[first:last])
        start += last - first
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _epoch_order(samples: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(samples)


def _downloaded(path: str, opt_out: OptOut) -> tuple[pa.Array, np.ndarray, np.ndarray, np.ndarray]:
    """Of each downloaded row: uid, tar_offset, tar_size, and whether the opt-out list names it."""
    judged: list[str] = []
    if opt_out.columns:
        with open_parquet(path) as parquet:
            judged = [name for name in opt_out.columns if name in parquet.schema_arrow.names]
    table = read_table(path, SHARDS, (*_COLUMNS, *judged))
    table = table.filter(pc.equal(table["status"], Status.SUCCESS.value))
    if table["tar_offset"].null_count or table["tar_size"].null_count:
        raise InputError(f"{path}: a downloaded row lacks its tar_offset or tar_size; verify the shards")
    uid = _fixed_binary(_uid_bytes(table["uid"], path))
    return uid, table["tar_offset"].to_numpy(), table["tar_size"].to_numpy(), opt_out.forbids_rows(table, path)


def _uid_bytes(uids: pa.ChunkedArray, path: str) -> np.ndarray:
    try:
        return uid_bytes(uids)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: column 'uid' holds a value that is not 32 hex digits ({error})") from error


def _fixed_binary(uids: np.ndarray) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(uids))
    return pa.FixedSizeBinaryArray.from_buffers(_UID_TYPE, len(uids), [None, data])
