"""A shard's rows on their way in: read in batches, those that repeat an earlier row left out, each with its key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from clipsieve.pipelines.pairs.plan import Naming, ShardPlan
from clipsieve.pipelines.pairs.table import Columns, iter_rows
from clipsieve.pipelines.shards.writer import INPUT_COLUMNS
from clipsieve.schemas.opt_out import OptOut

BATCH_ROWS = 128
"""Input rows that are read, and later written, at a time."""


@dataclass(frozen=True)
class Pair:
    """One input row to download."""

    uid: str
    url: str
    sha256: str | None
    """Hex digest that its bytes must have; None where there is none to verify."""
    boxes: Sequence[Sequence[float]] | None
    """[x0, y0, x1, y1] in 0 to 1, each to blur."""
    is_opted_out: bool
    """By the user's list: it is not to be requested."""


@dataclass(frozen=True)
class PairBatch:
    """Some consecutive rows of a shard."""

    rows: pa.Table
    """What passes through, then `INPUT_COLUMNS`."""
    pairs: tuple[Pair, ...]

    @property
    def passed(self) -> pa.Schema:
        return self.rows.drop_columns(list(INPUT_COLUMNS)).schema


def iter_batches(
    plan: ShardPlan, duplicates: np.ndarray, columns: Columns, naming: Naming, opt_out: OptOut
) -> Iterator[PairBatch]:
    """The rows of a shard without ``duplicates`` int64[D], in batches of up to `BATCH_ROWS` that may be empty.

    Where batches end depends on the shard's rows alone. Raises InputError as `iter_rows` does.
    """
    repeated = set(duplicates.tolist())
    start = 0
    for rows in _even(iter_rows(plan.slices, columns)):
        kept = [row for row in range(start, start + len(rows)) if row not in repeated]
        keys = pa.array([naming.key(plan.number, row) for row in kept], pa.string())
        rows = rows.take(pa.array([row - start for row in kept], pa.int64()))
        start += BATCH_ROWS
        passed = [name for name in rows.column_names if name not in INPUT_COLUMNS]
        yield PairBatch(
            rows.append_column("key", keys).select([*passed, *INPUT_COLUMNS]), _pairs(rows, columns, opt_out)
        )


def _pairs(rows: pa.Table, columns: Columns, opt_out: OptOut) -> tuple[Pair, ...]:
    nothing = [None] * len(rows)
    hashes = rows[columns.kept_as(columns.sha256)].to_pylist() if columns.sha256 is not None else nothing
    boxes = rows[columns.kept_as(columns.boxes)].to_pylist() if columns.boxes is not None else nothing
    listed = opt_out.forbids_rows(rows.select(["uid", "url"]), str(opt_out.path)).tolist()
    values = zip(rows["uid"].to_pylist(), rows["url"].to_pylist(), hashes, boxes, listed, strict=True)
    return tuple(Pair(uid, url, sha256.lower() if sha256 else None, *rest) for uid, url, sha256, *rest in values)


def _even(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The rows of ``tables`` in tables of `BATCH_ROWS`; the last may be shorter."""
    waiting: pa.Table | None = None
    for table in tables:
        waiting = table if waiting is None else pa.concat_tables([waiting, table])
        whole = len(waiting) - len(waiting) % BATCH_ROWS
        yield from (waiting.slice(start, BATCH_ROWS) for start in range(0, whole, BATCH_ROWS))
        waiting = waiting.slice(whole)
    if waiting:
        yield waiting
