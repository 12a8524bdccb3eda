"""Shards: stats, Parquet and tar agree, row by row and byte by byte; every input row ended once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.pipelines.download.passes import shards_by_pass
from clipsieve.pipelines.shards.writer import ShardStats, read_stats, stats_path
from clipsieve.pipelines.verify.checks import Check, expect, expect_equal, finished_manifest
from clipsieve.schemas import files, tables
from clipsieve.schemas.counts import DownloadCounts
from clipsieve.schemas.members import as_raw, as_strings
from clipsieve.schemas.naming import IMAGE_EXTENSIONS
from clipsieve.schemas.outcomes import Status
from clipsieve.schemas.samples import Sample, iter_samples
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.uid import uid_bytes, uid_strings


def check_shards(folder: str) -> Check:
    """What `download` wrote."""
    found = finished_manifest(folder)
    names = list_shards(folder)
    first_pass = set(shards_by_pass(folder, found)[0])
    total: Counter[str] = Counter()
    digests, uids, downloaded = [], [], []
    for name in names:
        stats = read_stats(stats_path(folder, name))
        rows = tables.read_table(files.join(folder, f"{name}.parquet"), tables.SHARDS)
        _check_counts(files.join(folder, f"{name}.parquet"), rows, stats)
        digests.append(f"{name} {check_tar(folder, name, rows, stats.tar_xxh3, stats.rows_digest)}")
        total["success"] += stats.successes
        downloaded.append(as_strings(uid_bytes(rows.filter(pc.is_valid(rows["tar_offset"]))["uid"])))
        if name in first_pass:
            total.update(rows=stats.count + stats.duplicates, duplicates=stats.duplicates)
            uids.append(as_strings(uid_bytes(rows["uid"])))
    expect_unique(np.concatenate(uids), folder)
    expect_unique(np.concatenate(downloaded), folder)
    counts = found.counted(DownloadCounts)
    for key, recorded in (("rows", counts.rows), ("duplicates", counts.duplicates), ("success", counts.success)):
        count = total[key]
        expect(recorded == count, f"{folder}: its manifest counts {recorded} of {key}, its shards {count}")
    expect(files.sha256_text(*digests) == found.digest, f"{folder}: its manifest's digest is of other shards")
    failed = total["rows"] - total["duplicates"] - total["success"]
    return Check(
        "shards",
        f"{total['rows']:,} rows = {total['duplicates']:,} duplicates + {total['success']:,} downloaded + "
        f"{failed:,} failed, in {len(names):,} shards; each uid once; tars and tables agree byte by byte",
    )


def check_tar(folder: str, name: str, rows: pa.Table, tar_xxh3: str, rows_digest: str) -> str:
    """A shard's tar holds the samples of the rows with an image, where these say; returns both digests.

    Columns that say what a sample's own members say too (uid, caption) are compared where ``rows`` has them.
    """
    tar, parquet = files.join(folder, f"{name}.tar"), files.join(folder, f"{name}.parquet")
    listed = rows.filter(pc.is_valid(rows["tar_offset"]))
    samples = [_described(sample, tar) for sample in iter_samples(tar)]
    for column in ("key", "tar_offset", "tar_size", "uid", "caption"):
        if column in rows.schema.names:
            expect_equal([s[column] for s in samples], listed[column].to_pylist(), tar, f"the sample's {column}")
    expect(files.xxh3_file(tar) == tar_xxh3, f"{tar}: its bytes are not those that its stats file describes")
    digest = tables.content_digest(parquet)
    expect(digest == rows_digest, f"{parquet}: its rows are not those that its stats file describes")
    return f"{tar_xxh3} {rows_digest}"


def _described(sample: Sample, tar: str) -> dict[str, Any]:
    expect(
        any(extension in sample.members for extension in IMAGE_EXTENSIONS),
        f"{tar}: sample {sample.key} has no image",
    )
    return {
        "key": sample.key,
        "tar_offset": sample.offset,
        "tar_size": sample.size,
        "uid": sample.metadata.get("uid"),
        "caption": sample.caption,
    }


def expect_unique(uids: np.ndarray, folder: str) -> None:
    """No uid, bytes[N] of 16, is duplicated; 32 bytes a row are held."""
    ordered = np.sort(uids)
    repeated = ordered[1:] == ordered[:-1]
    first = uid_strings(as_raw(ordered[1:][repeated][:1]))
    expect(not repeated.any(), f"{folder}: {int(repeated.sum())} uids are duplicated, the first {first}")


def _check_counts(path: str, rows: pa.Table, stats: ShardStats) -> None:
    """A shard's Parquet shows as many rows of each end as its stats say."""
    expect(len(rows) == stats.count, f"{path}: holds {len(rows)} rows, its stats file says {stats.count}")
    ended = Counter(rows["status"].to_pylist())
    counts = {
        Status.SUCCESS.value: stats.successes,
        Status.FAILED_TO_DOWNLOAD.value: stats.failed_to_download,
        Status.FAILED_TO_RESIZE.value: stats.failed_to_resize,
    }
    for status, count in counts.items():
        expect(ended[status] == count, f"{path}: {ended[status]} rows are {status}, its stats file says {count}")
    expect(ended.total() == sum(counts.values()), f"{path}: rows have a status other than {', '.join(counts)}")
    placed = len(rows) - rows["tar_offset"].null_count
    expect(
        placed == stats.successes,
        f"{path}: {placed} rows have a tar_offset, {stats.successes} were downloaded",
    )
