"""What a folder of shards comes to as a whole, from their stats: its manifest's counts, its digest, its budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType

from clipsieve.pipelines.download.dead_letters import write_dead_letters
from clipsieve.pipelines.download.nothing_came import refuse_nothing
from clipsieve.pipelines.download.passes import Pass
from clipsieve.pipelines.shards.writer import ShardStats, read_stats, stats_path
from clipsieve.schemas import files, manifest
from clipsieve.schemas.counts import DownloadCounts, PassCounts, failure_counts
from clipsieve.schemas.errors import BudgetError, ClipsieveError
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.outcomes import ErrorClass
from clipsieve.schemas.threads import map_ahead


def finish(passes: Sequence[Pass], out: str, opened: Manifest) -> Manifest:
    """Prove that every row ended once, list the dead letters and close the manifest."""
    stats = [_read_all_stats(out, each.names) for each in passes]
    for each, written in zip(passes, stats, strict=True):
        ended = sum(shard.count + shard.duplicates for shard in written)
        if ended != each.table.rows:
            raise ClipsieveError(f"{out}: the shards of pass {each.number} have {ended} rows of {each.table.rows}")
    failures = write_dead_letters(out, [each.names for each in passes])
    counts = count(stats, failures)
    ended = counts.duplicates + counts.success + failures.total()
    if ended != counts.rows:
        raise ClipsieveError(f"{out}: {ended} of {counts.rows} rows ended once; the others twice or never")
    shards = zip(chain(*(each.names for each in passes)), chain(*stats), strict=True)
    return manifest.finish(out, opened, counts, digest(shards))


def _read_all_stats(out: str, names: Sequence[str]) -> list[ShardStats]:
    return list(map_ahead(lambda name: read_stats(stats_path(out, name)), names))


def count(passes: Sequence[Sequence[ShardStats]], failures: Mapping[str, int]) -> DownloadCounts:
    """All input rows, those left out as duplicates, and how the others ended.

    ``passes`` holds the stats of each pass's shards, ``failures`` the rows by the error class of their last try.
    """
    first, *retries = passes
    duplicates = sum(shard.duplicates for shard in first)
    return DownloadCounts(
        rows=sum(shard.count for shard in first) + duplicates,
        duplicates=duplicates,
        success=sum(shard.successes for shards in passes for shard in shards),
        **failure_counts(failures),
        retries=tuple(
            PassCounts(rows=sum(each.count for each in shards), success=sum(each.successes for each in shards))
            for shards in retries
        ),
    )


def digest(shards: Iterable[tuple[str, ShardStats]]) -> str:
    """Hex SHA-256 over each shard's name, tar and rows."""
    return files.sha256_text(*(f"{name} {stats.tar_xxh3} {stats.rows_digest}" for name, stats in shards))


def within_budget(
    out: str, done: Manifest, max_failure_share: float, ways_out: Mapping[ErrorClass, str] = MappingProxyType({})
) -> Manifest:
    """The manifest of the finished ``out``; BudgetError where a greater share of its pairs, or every one, failed.

    ``ways_out`` are those of `refuse_nothing`.
    """
    counts = done.counted(DownloadCounts)
    refuse_nothing(out, counts, ways_out)
    share = counts.failed / counts.distinct
    if share > max_failure_share:
        raise BudgetError(
            f"{counts.failed} of {counts.distinct} pairs failed ({share:.1%}), "
            f"more than `max_failure_share` {max_failure_share} allows; the others are kept"
        )
    return done
