"""What a download comes to as a whole, from its shards' stats: its manifest's counts, its digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from clipsieve.pipelines.shards.writer import ShardStats
from clipsieve.schemas import files
from clipsieve.schemas.counts import DownloadCounts, PassCounts, failure_counts


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
