"""Which samples a run trains on and where they lie: decided before step 0, from tables.

The samples stand in the order of their uids, whatever tar each lies in: a run on a copy of some shards, or on an index
of them, is the run on these. The plan holds 36 bytes a sample, 16 more for each subset of a mixture that it is in, and
the order 8 (twice at an epoch's border): 100M samples take 5.2 GB in every process, and 4 GB more while it is made. A
global random order wants a store with fast random reads: local disks rather than an object store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import WeightedMembers, as_raw, as_strings
from clipsieve.schemas.naming import MemberNaming
from clipsieve.schemas.opt_out import OptOut, load_opt_out
from clipsieve.schemas.outcomes import Status
from clipsieve.schemas.shards import list_shards, naming_of, tar_of
from clipsieve.schemas.tables import SHARDS, open_parquet, read_table
from clipsieve.schemas.threads import map_ahead
from clipsieve.schemas.uid import uid_bytes, uid_strings

_COLUMNS = ("uid", "key", "status", "tar_offset", "tar_size")


@dataclass(frozen=True)
class SamplePlan:
    """The samples of a run in the shards' order; a sample is known by its index here."""

    tars: tuple[str, ...]
    naming: MemberNaming | None
    """How their members are named; None where they are as in clipsieve's own shards."""
    shard: np.ndarray
    """int32[N]: which of ``tars``."""
    offset: np.ndarray
    """int64[N]: the first byte of the sample's members in its tar."""
    size: np.ndarray
    """int64[N]: bytes from there to the end of its last member."""
    subsets: tuple[np.ndarray, ...]
    """int64[N_k] each: the members of each subset, by index here, ascending; empty where there is none."""
    weights: tuple[np.ndarray, ...]
    """int64[N_k] each: how often an epoch of the subset has each of its members."""
    uids: np.ndarray
    """bytes[N] of 16, ascending"""
    missing: tuple[int, ...] = ()
    """Of each subset, how many of its members are of no downloaded sample."""
    opted_out: int = 0
    """How many samples were left out because the opt-out list names them."""

    def __len__(self) -> int:
        return len(self.offset)


def plan_samples(
    shards: str, subsets: Sequence[str] = (), opt_out: str | None = None, allow_missing: bool = False
) -> SamplePlan:
    """The downloaded samples of a shards folder, or those of them whose uid one of the subset files holds.

    Those that the file ``opt_out`` lists are left out.
    Raises InputError when a subset holds a uid that no downloaded sample has, with their number, unless
    ``allow_missing``; for one of which nothing is left; and for a uid that two samples have.
    """
    chosen, names = [WeightedMembers(path) for path in subsets], list_shards(shards)
    listed = load_opt_out(opt_out)
    tables = map_ahead(lambda name: _downloaded(files.join(shards, f"{name}.parquet"), listed), names)
    parts, opted_out = [], 0
    for number, table in enumerate(tables):
        found = np.stack([members.find(table.raw_uids) for members in chosen] or [np.zeros(len(table), np.int64)])
        is_kept = (found >= 0).any(axis=0)
        opted_out += int(np.count_nonzero(is_kept & table.is_listed))
        is_kept &= ~table.is_listed
        parts.append(_Part(np.full(int(is_kept.sum()), number, np.int32), table.where(is_kept), found[:, is_kept]))
    if not allow_missing:
        for members in chosen:
            members.refuse_missing(f"downloaded sample in {shards}", "`allow_missing` trains on the others")
    uids = as_strings(np.concatenate([part.table.raw_uids for part in parts]))
    order = np.argsort(uids, kind="stable")
    _refuse_repeats(uids[order], shards)
    shard, offset, size = (
        np.concatenate(columns)[order]
        for columns in zip(*((part.shard, part.table.offset, part.table.size) for part in parts), strict=True)
    )
    found = np.concatenate([part.found for part in parts], axis=1)[:, order]
    members_of = tuple(np.flatnonzero(row >= 0) for row in found[: len(chosen)])
    for members, indices in zip(chosen, members_of, strict=True):
        if not len(indices):
            raise InputError(f"{members.path}: no sample of it is left to train on")
    return SamplePlan(
        tars=tuple(tar_of(shards, name) for name in names),
        naming=naming_of(shards),
        shard=shard,
        offset=offset,
        size=size,
        subsets=members_of,
        weights=tuple(
            members.weights[row[indices]] for members, row, indices in zip(chosen, found, members_of, strict=False)
        ),
        missing=tuple(members.missing for members in chosen),
        uids=uids[order],
        opted_out=opted_out,
    )


@dataclass(frozen=True)
class _Downloaded:
    """The downloaded rows of a shard."""

    raw_uids: np.ndarray
    """uint8[N, 16]"""
    offset: np.ndarray
    size: np.ndarray
    is_listed: np.ndarray
    """bool[N]: whether the opt-out list names them."""

    def __len__(self) -> int:
        return len(self.offset)

    def where(self, is_kept: np.ndarray) -> _Downloaded:
        """The rows that ``is_kept`` bool[N] keeps."""
        return _Downloaded(*(getattr(self, field.name)[is_kept] for field in fields(self)))


@dataclass(frozen=True)
class _Part:
    """What a plan takes of a shard."""

    shard: np.ndarray
    table: _Downloaded
    found: np.ndarray
    """int64[K, N]: of each subset, which of its members each row is; -1: none."""


def _refuse_repeats(uids: np.ndarray, shards: str) -> None:
    is_repeated = uids[1:] == uids[:-1]
    if is_repeated.any():
        first = uid_strings(as_raw(uids[1:][is_repeated][:1]))[0]
        raise InputError(f"{shards}: {int(is_repeated.sum())} samples have the uid of another, the first {first}")


def _downloaded(path: str, opt_out: OptOut) -> _Downloaded:
    names = _names_in(path)
    judged = [name for name in opt_out.columns if name in names]
    table = read_table(path, SHARDS, (*_COLUMNS, *judged))
    table = table.filter(pc.equal(table["status"], Status.SUCCESS.value))
    if table["tar_offset"].null_count or table["tar_size"].null_count:
        raise InputError(f"{path}: a downloaded row lacks its tar_offset or tar_size; verify the shards")
    offset, size = (table[name].to_numpy() for name in ("tar_offset", "tar_size"))
    return _Downloaded(_uid_bytes(table["uid"], path), offset, size, opt_out.forbids_rows(table, path))


def _names_in(path: str) -> list[str]:
    """The columns of a shard's table. Raises InputError where they do not say where its samples are."""
    names = []
    if files.exists(path):
        with open_parquet(path) as parquet:
            names = parquet.schema_arrow.names
    if not {"uid", "tar_offset", "tar_size"} <= set(names):
        raise InputError(
            f"{path}: does not say where the samples are; of another tool's shards, train on an index "
            "(`clipsieve index`), or on a copy (`clipsieve reshard`)"
        )
    return names


def _uid_bytes(uids: pa.ChunkedArray, path: str) -> np.ndarray:
    try:
        return uid_bytes(uids)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: column 'uid' holds a value that is not 32 hex digits ({error})") from error
