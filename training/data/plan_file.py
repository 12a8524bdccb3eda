"""Which samples a run trains on and where they lie: a folder of columns that every process maps into its memory.

::

    plan.json      what it was made from, its shards, its counts and its digest (`PlanHeader`)
    rows.npy       of each sample the shard, and its first block and its blocks of 512 bytes in the tar: 12 bytes
    uids.npy       16 bytes a sample, which only a resumed run reads, and whoever names a sample
    members-K.npy  of each subset of a mixture its members, by their rows
    weights-K.npy  of a subset with weights, how often an epoch has each member
    bounds.npy     of a plan by shard, the first sample of each shard, and how many samples there are

The samples stand in the order of their uids, whatever tar each lies in: a run on a copy of some shards, or on an index
of them, is the run on these. For an order of windows they stand by shard, in the order of their uids within. Pages that
were read are the system's to keep or drop, one copy for all processes of a machine.
"""

from __future__ import annotations

import mmap
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import as_raw
from clipsieve.schemas.naming import MemberNaming
from clipsieve.schemas.ranges import Range
from clipsieve.schemas.shards import tar_paths
from clipsieve.schemas.uid import uid_strings

HEADER_NAME = "plan.json"
ROWS, UIDS, BOUNDS = "rows", "uids", "bounds"
ROW = np.dtype([("shard", "<u4"), ("start", "<u4"), ("blocks", "<u4")])
"""A sample's shard, by number, and its place in the tar, in blocks; of one that is gone, no blocks."""
UID = np.dtype("S16")
SPILL_NAME = ".spill"
_VALUES_HELD = 4096
"""Each maps a page of 4 KiB, or up to 64 KiB where the neighbours are in the system's cache."""
_COLUMN = re.compile(rf"{ROWS}|{UIDS}|{BOUNDS}|(members|weights)-\d+")


class PlanInputs(BaseModel):
    """What decides a plan: two plans of equal inputs hold the same samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shards: str
    """Digest of the folder."""
    subsets: tuple[str, ...] = ()
    """Digests of the files, in their order."""
    opt_out: str | None = None
    """Digest of the list."""
    allow_missing: bool = False
    order: Literal["global", "window"] = "global"

    @property
    def key(self) -> str:
        """A name for the folder of a plan of these inputs."""
        return files.sha256_text(self.model_dump_json())[:16]


class PlanHeader(BaseModel):
    """`plan.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    inputs: PlanInputs
    naming: MemberNaming | None
    """How the tars' members are named; None where they are as in clipsieve's own shards."""
    shards: tuple[str, ...]
    """Their names."""
    ends: tuple[int, ...]
    """Of each shard, where the last of its downloaded samples ends in the tar, in bytes."""
    rows: int
    missing: tuple[int, ...] = ()
    """Of each subset, how many of its members are of no downloaded sample."""
    opted_out: int = 0
    """How many samples were left out because the opt-out list names them."""
    gone: int = 0
    """How many have been taken down, or come to be listed, since a run began with the plan; their rows stay."""
    digest: str
    """Of the shards' names and the columns, as they were when a run began with the plan."""


@dataclass(frozen=True)
class SamplePlan:
    """The samples of a run; a sample is known by its index here. A copy in another process maps the same files."""

    header: PlanHeader
    tars: tuple[str, ...]
    """By the shard's number, its path."""
    columns: Mapping[str, np.ndarray]
    """By the file's name, without suffix."""
    _read: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)
    """How many values were read since the system was last told that it may have their pages back."""

    def __len__(self) -> int:
        return self.header.rows

    @property
    def rows(self) -> np.ndarray:
        """`ROW` [N]"""
        return self.columns[ROWS]

    @property
    def naming(self) -> MemberNaming | None:
        return self.header.naming

    @property
    def is_by_shard(self) -> bool:
        return self.header.inputs.order == "window"

    @property
    def missing(self) -> tuple[int, ...]:
        return self.header.missing

    @property
    def opted_out(self) -> int:
        return self.header.opted_out

    def ranges(self, indices: Sequence[int] | np.ndarray) -> list[Range]:
        """The tar, first byte and size of each of these samples."""
        rows = self._values(ROWS, indices)
        places = (rows[name].astype(np.int64).tolist() for name in ("shard", "start", "blocks"))
        return [
            (self.tars[shard], start * tarfile.BLOCKSIZE, blocks * tarfile.BLOCKSIZE)
            for shard, start, blocks in zip(*places, strict=True)
        ]

    def raw_uids(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """bytes[n] of 16: the uid of each of these samples."""
        return self._values(UIDS, indices)

    def uids(self, indices: Sequence[int] | np.ndarray) -> list[str]:
        """The uid of each of these samples."""
        return uid_strings(as_raw(self.raw_uids(indices)))

    def is_gone(self, indices: np.ndarray) -> np.ndarray:
        """bool[n]: which of these samples are no longer there, though a run began with them."""
        if not self.header.gone:
            return np.zeros(len(indices), bool)
        return self._values(ROWS, indices)["blocks"] == 0

    def count(self, subset: int) -> int:
        """How many members a subset has, by its number; without subsets all samples are the first one's."""
        column = self.columns.get(f"members-{subset}")
        return len(self) if column is None else len(column)

    def members(self, subset: int, numbers: np.ndarray) -> np.ndarray:
        """The samples that are these members of a subset, which are in the samples' order; both int64[n]."""
        name = f"members-{subset}"
        return self._values(name, numbers) if name in self.columns else numbers

    def weights(self, subset: int) -> np.ndarray | None:
        """uint[members]: how often an epoch of the subset has each of its members; None: once."""
        return self.columns.get(f"weights-{subset}")

    def bounds(self, subset: int) -> np.ndarray:
        """int64[shards + 1]: of a plan by shard, the subset's first member in each, and how many it has."""
        column, bounds = self.columns.get(f"members-{subset}"), np.asarray(self.columns[BOUNDS])
        # Of the column's own type, or all of it would be converted.
        return bounds if column is None else np.searchsorted(column, bounds.astype(column.dtype))

    def _values(self, name: str, places: Sequence[int] | np.ndarray) -> np.ndarray:
        """The values of a column at these places.

        A page that a process has read counts as its own, though it is the system's cache, until the process lets it go.
        """
        values = self.columns[name][np.asarray(places, np.int64)]
        self._read[0] += len(values)
        if self._read[0] >= _VALUES_HELD:
            self._read[0] = 0
            for column in self.columns.values():
                _advise(column, mmap.MADV_DONTNEED)
        return values

    def __reduce__(self) -> tuple[Any, ...]:
        columns = {
            name: Path(column.filename) if isinstance(column, np.memmap) and column.filename else column
            for name, column in self.columns.items()
        }
        return _mapped_plan, (self.header, self.tars, columns)


def open_plan(folder: str, shards: str) -> SamplePlan:
    """The plan in a local ``folder``, of samples of the folder ``shards``. Raises InputError where there is none."""
    header = read_header(folder)
    if header is None:
        raise InputError(f"{folder}: no plan ({HEADER_NAME}) in this folder; `clipsieve plan` makes one")
    columns = {path.stem: path for path in column_paths(folder)}
    return _mapped_plan(header, tar_paths(shards, header.shards), columns)


def read_header(folder: str) -> PlanHeader | None:
    """What the plan in ``folder`` says of itself; None where there is none."""
    path = files.join(folder, HEADER_NAME)
    if not files.exists(path):
        return None
    try:
        return PlanHeader.model_validate_json(files.read_bytes(path))
    except ValidationError as error:
        raise InputError(f"{path}: not a plan's ({error.errors()[0]['msg']}); make the plan again") from error


def column_paths(folder: str) -> list[Path]:
    """The columns' files in ``folder``."""
    return [path for path in sorted(Path(folder).glob("*.npy")) if _COLUMN.fullmatch(path.stem)]


def clear_plan(folder: str) -> None:
    """Make a local folder one without a plan, and remove what a plan's making left there; other files stay."""
    files.remove(files.join(folder, HEADER_NAME), *map(str, column_paths(folder)), files.join(folder, SPILL_NAME))


def _mapped_plan(header: PlanHeader, tars: tuple[str, ...], columns: Mapping[str, np.ndarray | Path]) -> SamplePlan:
    mapped = {name: _mapped(column) if isinstance(column, Path) else column for name, column in columns.items()}
    return SamplePlan(header, tars, mapped)


def _mapped(path: Path) -> np.ndarray:
    try:
        column = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path}: not a column of a plan ({error}); make the plan again") from error
    _advise(column, mmap.MADV_RANDOM)  # or the system reads 128 KiB for each sample
    return column


def _advise(column: np.ndarray, advice: int) -> None:
    """Tell the system how a mapped column is read; an array in memory is none."""
    if isinstance(column.base, mmap.mmap):
        column.base.madvise(advice)
