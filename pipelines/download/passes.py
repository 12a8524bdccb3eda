"""Passes: the first download of all rows, then a later one each time over the retryable failures.

    shards of the pass before -> their retryable failures -> `_manifest/retry-1.parquet` -> added shards

A pass has a table of its own and shards numbered on from the pass before, so it is downloaded like any input, and
law 2 holds for it. The manifest's ``earlier`` tells how many passes are complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.pipelines.download.dead_letters import iter_failures
from clipsieve.pipelines.pairs.copies import write_copy
from clipsieve.pipelines.pairs.plan import Naming, ShardPlan, naming, plan_shards
from clipsieve.pipelines.pairs.table import PairsTable, open_pairs
from clipsieve.pipelines.shards.writer import stats_path
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.options import ImageOptions
from clipsieve.schemas.shards import STATS_SUFFIX, list_shards
from clipsieve.schemas.tables import SHARDS

_BATCH_ROWS = 1024  # their captions may be long


@dataclass(frozen=True)
class Pass:
    """One go at a table's rows."""

    number: int
    """0 of the input's own, 1 of the first that tries again."""
    table: PairsTable
    plans: tuple[ShardPlan, ...]
    naming: Naming

    @property
    def names(self) -> list[str]:
        """The names of its shards."""
        return [self.naming.shard(plan.number) for plan in self.plans]

    def todo(self, out: str) -> list[ShardPlan]:
        """Its shards that are not done in the folder ``out``."""
        done = set(files.list_files(out, STATS_SUFFIX))
        return [plan for plan, name in zip(self.plans, self.names, strict=True) if stats_path(out, name) not in done]


def plan_passes(table: PairsTable, out: str, options: ImageOptions, retries: int) -> list[Pass]:
    """The pass over the input ``table``, and those over the ``retries`` tables that were written in ``out``.

    Shards are numbered on from pass to pass; their names have room for as many again as the first pass has.
    Raises InputError when the passes need more: names with one more digit would not sort with the others.
    """
    again = [retry_path(out, number) for number in range(1, retries + 1)]
    inputs = [table, *(open_pairs([path], options.bbox_col, options.verify_sha256) for path in again)]
    planned = [plan_shards(each.row_groups, options.shard_size) for each in inputs]
    names = naming(2 * len(planned[0]), options.shard_size)
    passes: list[Pass] = []
    first = 0
    for number, (each, plans) in enumerate(zip(inputs, planned, strict=True)):
        passes.append(Pass(number, each, tuple(replace(plan, number=first + plan.number) for plan in plans), names))
        first += len(plans)
    if first > 10**names.shard_digits:
        raise InputError(f"{out}: {first} shards do not have names of {names.shard_digits} digits; add no more passes")
    return passes


def shards_by_pass(folder: str, found: Manifest) -> list[list[str]]:
    """The names of the shards in ``folder``, whose manifest is ``found``, pass by pass, the first pass's first."""
    names, ends = list_shards(folder), list(accumulate(found.shards_by_pass))
    if ends[-1] != len(names):
        raise ClipsieveError(f"{folder}: holds {len(names)} shards, by its manifest's counts it has {ends[-1]}")
    return [names[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def retry_path(out: str, number: int) -> str:
    return files.join(out, "_manifest", f"retry-{number}.parquet")


def write_retry_table(out: str, before: Pass) -> bool:
    """Write the input of the pass after ``before``: the rows of its shards whose failure is retryable.

    They stand in the shards' order, in columns that are named as in the input; some megabytes are held at a
    time. Returns whether there are any; where there are none nothing is written.
    """
    return write_copy(retry_path(out, before.number + 1), _iter_retryable(out, before))


def _iter_retryable(out: str, before: Pass) -> Iterator[pa.Table]:
    """The rows of a pass whose failure is retryable, under the input's names; no table is empty."""
    columns = before.table.columns
    given = {"uid": columns.uid or "uid", "url": columns.url, "caption": columns.caption}
    given |= {kept: name for name, kept in columns.extra}
    for name, failures in zip(before.names, iter_failures(out, before.names), strict=True):
        uids = failures.filter(failures["retryable"])["uid"].combine_chunks()
        path = files.join(out, f"{name}.parquet")
        for batch in tables.iter_batches(path, SHARDS, list(given), _BATCH_ROWS) if len(uids) else ():
            rows = pa.Table.from_batches([batch]).filter(pc.is_in(batch["uid"], uids))
            if len(rows):
                yield rows.select(list(given)).rename_columns(list(given.values()))
