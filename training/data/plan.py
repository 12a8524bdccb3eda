"""Makes a plan from the shards' tables, subsets and an opt-out list: shard by shard on all cores, in bounded memory.

    tables, in threads -> the rows that are downloaded, in a subset and not listed -> by uid (spill.py) -> columns

Memory holds the subsets, 33 bytes a member, the opt-out list, and the rows of a few shards or buckets.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from weakref import finalize

import numpy as np
from fsspec.implementations.local import LocalFileSystem

from clipsieve.schemas import files
from clipsieve.schemas.counts import Counts, DownloadCounts, IndexCounts, ReshardCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import input_digest, read_manifest
from clipsieve.schemas.members import WeightedMembers
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.options import PlanOptions
from clipsieve.schemas.progress import Reading, progress
from clipsieve.schemas.shards import list_shards, naming_of
from clipsieve.schemas.threads import cores, map_ahead
from clipsieve.training.data.columns import ColumnWriter
from clipsieve.training.data.downloaded import read_downloaded
from clipsieve.training.data.plan_file import (
    BOUNDS,
    HEADER_NAME,
    ROW,
    ROWS,
    SPILL_NAME,
    UID,
    UIDS,
    PlanHeader,
    PlanInputs,
    SamplePlan,
    clear_plan,
    open_plan,
    read_header,
)
from clipsieve.training.data.spill import SortedRows, uid_order

_SAMPLED_SHARDS = 64
_SHOWN_SHARDS = 1000
"""From how many shards on progress is shown; these take some seconds."""


@dataclass(frozen=True)
class PlanSource:
    """What a plan is made from, by paths."""

    shards: str
    subsets: tuple[str, ...] = ()
    opt_out: str | None = None
    allow_missing: bool = False
    order: Literal["global", "window"] = "global"

    def inputs(self) -> PlanInputs:
        """The digests of all that, which are read for it."""
        return PlanInputs(
            shards=input_digest(self.shards),
            subsets=tuple(map(input_digest, self.subsets)),
            opt_out=load_opt_out(self.opt_out).digest if self.opt_out else None,
            allow_missing=self.allow_missing,
            order=self.order,
        )


def build_plan(source: PlanSource, inputs: PlanInputs, folder: str) -> PlanHeader:
    """Write the plan of the downloaded samples, or those of them whose uid a subset holds, into a local ``folder``.

    Those that the opt-out list names are left out. The header is written last: without it the folder holds no plan.
    Raises InputError when a subset holds a uid that no downloaded sample has, with their number, unless
    ``allow_missing``; for one of which nothing is left; for a uid that two samples have; for a sample that is not in
    a tar's blocks; and where there are not as many samples as the shards' manifest counts.
    """
    target, tables = Path(folder), _Tables(source)
    clear_plan(folder)
    with files.naming(folder):
        spilled = target / SPILL_NAME
        spilled.mkdir(parents=True)
        columns = _write(tables, target, spilled, source)
        shutil.rmtree(spilled)
    tables.check()
    header = PlanHeader(
        inputs=inputs,
        naming=naming_of(source.shards),
        shards=tuple(tables.names),
        ends=tuple(tables.ends),
        rows=len(columns[ROWS]),
        missing=tuple(members.missing for members in tables.subsets),
        opted_out=tables.opted_out,
        digest=files.sha256_text(
            inputs.order, *tables.names, *(f"{name} {columns[name].digest}" for name in sorted(columns))
        ),
    )
    files.write_bytes(files.join(folder, HEADER_NAME), header.model_dump_json().encode())
    return header


def run(shards: str, subsets: Sequence[str], out: str, options: PlanOptions, opt_out: str | None = None) -> PlanHeader:
    """Make the plan of a folder of shards in the local folder ``out``, unless it is there."""
    source = PlanSource(shards, tuple(subsets), opt_out, options.allow_missing, options.order)
    fs, _ = files.filesystem(out)
    if not isinstance(fs, LocalFileSystem):
        raise InputError(f"{out}: a plan is mapped into memory; choose a local folder")
    with only_writer(out):
        inputs, header = source.inputs(), read_header(out)
        return header if header and header.inputs == inputs else build_plan(source, inputs, out)


def plan_samples(
    shards: str, subsets: Sequence[str] = (), opt_out: str | None = None, allow_missing: bool = False
) -> SamplePlan:
    """`build_plan` of a global order, in a temporary folder that goes when the plan does."""
    source, folder = PlanSource(shards, tuple(subsets), opt_out, allow_missing), tempfile.mkdtemp("-clipsieve-plan")
    try:
        build_plan(source, source.inputs(), folder)
        plan = open_plan(folder, shards)
    except BaseException:
        shutil.rmtree(folder)
        raise
    finalize(plan, shutil.rmtree, folder)
    return plan


class _Tables:
    """The shards' tables, read once, in order; what is counted on the way."""

    def __init__(self, source: PlanSource) -> None:
        self.shards, self.names = source.shards, list_shards(source.shards)
        self.subsets = [WeightedMembers(path) for path in source.subsets]
        self._listed = load_opt_out(source.opt_out)
        self._allows_missing = source.allow_missing
        heaviest = max((int(members.weights.max(initial=1)) for members in self.subsets), default=1)
        weights = (np.min_scalar_type(heaviest), (len(self.subsets),))
        self.dtype = np.dtype([("uid", UID), ("row", ROW), ("weight", *weights)])
        """Of the rows: ``weight`` is that of each subset; 0: no member."""
        self.ends: list[int] = []
        self.lengths: list[int] = []
        """Of each shard, how many rows are kept."""
        self.downloaded = self.opted_out = 0
        self.left = np.zeros(len(self.subsets), np.int64)
        """Of each subset, how many members are kept."""

    def rows(self) -> Iterator[np.ndarray]:
        """The kept rows of each shard, in the order of their uids."""
        is_long = len(self.names) >= _SHOWN_SHARDS
        look = progress("plan (shards)", len(self.names), lambda: Reading(len(self.ends)))
        with look if is_long else nullcontext():
            for part in map_ahead(self._read, range(len(self.names)), cores() + 1):
                self.ends.append(part.end)
                self.lengths.append(len(part.rows))
                self.downloaded += part.downloaded
                self.opted_out += part.opted_out
                self.left += np.count_nonzero(part.rows["weight"], axis=0)
                yield part.rows

    def sampled_uids(self) -> np.ndarray:
        """bytes[n] of 16: the uids of some shards, from among all."""
        numbers = np.unique(np.linspace(0, len(self.names) - 1, _SAMPLED_SHARDS).astype(int)).tolist()
        return np.concatenate([read_downloaded(self._path(number), self._listed).uids for number in numbers])

    def check(self) -> None:
        """Raise InputError for what the rows, all read, are not."""
        if not self._allows_missing:
            for members in self.subsets:
                members.refuse_missing(f"downloaded sample in {self.shards}", "`allow_missing` trains on the others")
        for members, left in zip(self.subsets, self.left.tolist(), strict=True):
            if not left:
                raise InputError(f"{members.path}: no sample of it is left to train on")
        made = read_manifest(self.shards)
        counted = _samples_counted(made.counts) if made is not None and made.complete else None
        if counted is not None and counted != self.downloaded:
            raise InputError(
                f"{self.shards}: its tables hold {self.downloaded} samples, its manifest counts {counted}; "
                "verify the shards"
            )

    def _read(self, number: int) -> _Part:
        table = read_downloaded(self._path(number), self._listed)
        order = uid_order(table.uids)
        uids, is_listed = table.uids[order], table.is_listed[order]
        weights = np.zeros((len(order), len(self.subsets)), self.dtype["weight"].base)
        for subset, members in enumerate(self.subsets):
            found = members.find_ascending(uids)
            weights[:, subset] = np.where(found >= 0, members.weights[found], 0)
        is_chosen = weights.any(axis=1) if self.subsets else np.ones(len(order), bool)
        kept = np.flatnonzero(is_chosen & ~is_listed)
        rows = np.empty(len(kept), self.dtype)
        rows["uid"], rows["row"], rows["weight"] = uids[kept], table.places[order[kept]], weights[kept]
        rows["row"]["shard"] = number
        return _Part(rows, len(order), table.end, int(np.count_nonzero(is_chosen & is_listed)))

    def _path(self, number: int) -> str:
        return files.join(self.shards, f"{self.names[number]}.parquet")


@dataclass(frozen=True)
class _Part:
    """What a plan takes of a shard."""

    rows: np.ndarray
    downloaded: int
    end: int
    opted_out: int


def _write(tables: _Tables, target: Path, scratch: Path, source: PlanSource) -> dict[str, ColumnWriter]:
    """Write the columns into ``target``, by their names. Raises InputError for a uid that two samples have."""
    if source.order == "global":
        ordered = SortedRows(scratch, tables.dtype, tables.sampled_uids)
        for rows in tables.rows():
            ordered.add(rows)
        columns = _write_columns(ordered.blocks(), tables, target)
    else:
        ordered = SortedRows(scratch, np.dtype([("uid", UID)]), tables.sampled_uids)
        columns = _write_columns(_noting_uids(tables.rows(), ordered), tables, target)
        for _ in ordered.blocks():  # where two samples of one uid meet
            pass
        with ColumnWriter(target / f"{BOUNDS}.npy", np.dtype(np.int64)) as bounds:
            bounds.append(np.append(0, np.cumsum(tables.lengths)))
        columns[BOUNDS] = bounds
    if ordered.repeated:
        raise InputError(
            f"{source.shards}: {ordered.repeated} samples have the uid of another, the first {ordered.first_repeated}"
        )
    return columns


def _noting_uids(blocks: Iterable[np.ndarray], noted: SortedRows) -> Iterator[np.ndarray]:
    for rows in blocks:
        uids = np.empty(len(rows), [("uid", UID)])
        uids["uid"] = rows["uid"]
        noted.add(uids)
        yield rows


def _write_columns(blocks: Iterable[np.ndarray], tables: _Tables, target: Path) -> dict[str, ColumnWriter]:
    subsets = range(len(tables.subsets))
    is_mixture = len(subsets) > 1
    is_weighted = [bool((members.weights > 1).any()) for members in tables.subsets]
    dtypes: dict[str, np.dtype] = {ROWS: ROW, UIDS: UID}
    dtypes |= {f"members-{subset}": np.dtype(np.int64) for subset in subsets if is_mixture}
    dtypes |= {f"weights-{subset}": tables.dtype["weight"].base for subset in subsets if is_weighted[subset]}
    with ExitStack() as open_columns:
        columns = {
            name: open_columns.enter_context(ColumnWriter(target / f"{name}.npy", dtype))
            for name, dtype in dtypes.items()
        }
        for rows in blocks:
            first = len(columns[ROWS])
            columns[ROWS].append(rows["row"])
            columns[UIDS].append(rows["uid"])
            for subset in subsets:
                weights = rows["weight"][:, subset]
                if is_mixture:
                    columns[f"members-{subset}"].append(first + np.flatnonzero(weights))
                if is_weighted[subset]:
                    columns[f"weights-{subset}"].append(weights[weights > 0])
    return columns


def _samples_counted(counts: Counts) -> int | None:
    if isinstance(counts, DownloadCounts):
        return counts.success
    return counts.pairs if isinstance(counts, (IndexCounts, ReshardCounts)) else None
