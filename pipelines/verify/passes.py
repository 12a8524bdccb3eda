"""Passes and dead letters: what failed was tried again once where that could help, and is listed as it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from clipsieve.pipelines.download.dead_letters import dead_letters_path, iter_dead_letters, iter_failures
from clipsieve.pipelines.download.passes import shards_by_pass
from clipsieve.pipelines.shards.writer import read_stats, stats_path
from clipsieve.pipelines.verify.checks import Check, expect, expect_equal, finished_manifest
from clipsieve.schemas import files, tables
from clipsieve.schemas.counts import DownloadCounts, failure_counts
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.tables import DEAD_LETTERS, SHARDS


def check_passes(folder: str) -> Check:
    """What `download` tried again, and the dead letters that it left."""
    found = finished_manifest(folder)
    passes = shards_by_pass(folder, found)
    for number, (names, before) in enumerate(zip(passes[1:], passes, strict=False), 1):
        tried = _uids(tables.read_table(files.join(folder, f"{name}.parquet"), SHARDS, ["uid"]) for name in names)
        due = _uids(each.filter(each["retryable"]) for each in iter_failures(folder, before))
        expect_equal(tried, due, folder, f"the uid that pass {number} tried, against the failure before it,")
    _check_earlier(folder, found, passes)
    failed = _check_dead_letters(folder, passes)
    counts = found.counted(DownloadCounts)
    recorded, ended = _failures(counts), _failures(counts.model_copy(update=failure_counts(failed)))
    expect(recorded == ended, f"{folder}: its manifest counts {recorded}, its dead letters {ended}")
    again = "; each later pass tried just those before it whose failure could pass" if found.earlier else ""
    return Check("dead letters", f"{failed.total():,} rows, just those that failed in the end{again}")


def _failures(counts: DownloadCounts) -> dict[str, int]:
    """The counts of failed rows alone."""
    return counts.model_copy(update={"rows": 0, "duplicates": 0, "success": 0, "retries": ()}).shown


def _uids(rows: Iterable[pa.Table]) -> list[str]:
    return [uid for each in rows for uid in each["uid"].to_pylist()]


def _check_earlier(folder: str, found: Manifest, passes: Sequence[Sequence[str]]) -> None:
    """The folder's digest after each earlier pass was that of the shards as they are now."""
    described: list[str] = []
    for number, (names, before) in enumerate(zip(passes, found.earlier, strict=False)):
        for name in names:
            stats = read_stats(stats_path(folder, name))
            described.append(f"{name} {stats.tar_xxh3} {stats.rows_digest}")
        same = files.sha256_text(*described) == before.digest
        expect(same, f"{folder}: the shards of pass {number} are not what they were before pass {number + 1}")


def _check_dead_letters(folder: str, passes: Sequence[Sequence[str]]) -> Counter[str]:
    """The listed failures are the shards' own, in their order; returns how many there are of each class."""
    path = dead_letters_path(folder)
    listed = _rows(tables.iter_batches(path, DEAD_LETTERS))
    expected = _rows(batch for each in iter_dead_letters(folder, passes) for batch in each.to_batches())
    classes: Counter[str] = Counter()
    for row, due in enumerate(expected, 1):
        letter = next(listed, None)
        expect(letter == due, f"{path}: row {row}: is {letter}, not {due}")
        classes[due["error_class"]] += 1
    expect(next(listed, None) is None, f"{path}: has more than the {classes.total()} rows that failed")
    return classes


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        yield from batch.to_pylist()
