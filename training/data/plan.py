"""Which samples a run trains on and where they lie: decided before step 0, from tables.

The plan holds 20 bytes a sample, 8 more for each subset of a mixture that it is in, and the order 8 (twice at an
epoch's border): 100M samples take 3.6 GB in every process. A global random order wants a store with fast random
reads: local disks rather than an object store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import as_raw, read_members
from clipsieve.schemas.opt_out import OptOut, load_opt_out
from clipsieve.schemas.outcomes import Status
from clipsieve.schemas.samples import list_shards
from clipsieve.schemas.tables import SHARDS, open_parquet, read_table
from clipsieve.schemas.uid import uid_bytes

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
    subsets: tuple[np.ndarray, ...]
    """int64[N_k] each: the members of each subset of a mixture, by index here; empty where there is one stream."""
    opted_out: int
    """How many samples were left out because the opt-out list names them."""

    def __len__(self) -> int:
        return len(self.offset)


def plan_samples(shards: str, subsets: Sequence[str] = (), opt_out: str | None = None) -> SamplePlan:
    """The downloaded samples of a shards folder, or those of them whose uid one of the subset files holds.

    Those that the file ``opt_out`` lists are left out.
    Raises InputError when a subset holds a uid that no downloaded sample has, with their number, and for one of which
    nothing is left.
    """
    chosen = [_Members(path) for path in subsets]
    tars: list[str] = []
    columns, membership = [], []
    listed, opted_out = load_opt_out(opt_out), 0
    for name in list_shards(shards):
        uid, offset, size, is_listed = _downloaded(files.join(shards, f"{name}.parquet"), listed)
        within = np.stack([members.find(uid) for members in chosen] or [np.ones(len(uid), bool)])
        kept = within.any(axis=0)
        opted_out += int(np.count_nonzero(kept & is_listed))
        kept &= ~is_listed
        columns.append((np.full(np.count_nonzero(kept), len(tars), np.int32), offset[kept], size[kept]))
        membership.append(within[:, kept])
        tars.append(files.join(shards, f"{name}.tar"))
    for members in chosen:
        members.check(shards)
    shard, offset, size = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    members_of = [np.flatnonzero(row) for row in np.concatenate(membership, axis=1)] if len(chosen) > 1 else []
    for path, indices in zip(subsets, members_of, strict=False):
        if not len(indices):
            raise InputError(f"{path}: no sample of it is left to train on")
    return SamplePlan(tuple(tars), shard, offset, size, tuple(members_of), opted_out)


class _Members:
    """The uids of a subset file, and which of them were met in the shards."""

    def __init__(self, path: str) -> None:
        self._path, self._uids = path, _fixed_binary(as_raw(read_members(path)))
        self._met = np.zeros(len(self._uids), bool)

    def find(self, uids: pa.Array) -> np.ndarray:
        """bool[N]: which of ``uids`` are members."""
        found = pc.index_in(uids, value_set=self._uids)
        self._met[found.drop_null().to_numpy()] = True
        return found.is_valid().to_numpy(zero_copy_only=False)

    def check(self, shards: str) -> None:
        if not self._met.all():
            first = self._uids.filter(pa.array(~self._met))[0].as_py().hex()
            count = np.count_nonzero(~self._met)
            raise InputError(f"{self._path}: {count} uids are of no downloaded sample in {shards}, the first {first}")


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
