"""Download a table of (URL, caption) pairs into shards that img2dataset's and webdataset's readers read.

    uid ranges -> packed uids -> by bucket -> rows that repeat a uid -+
                                                                      +-> by shard -> fetch, decode, write
    shard plans ------------------------------------------------------+

Only uids, row numbers and plans cross a shuffle; a shard's rows are read, and its images live, in one step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import apache_beam as beam
import numpy as np

from pipelines import engine
from pipelines.command import run_command
from pipelines.download_plan import ShardPlan, naming, plan_shards
from pipelines.download_shard import ShardJob, download_shard, with_uids
from pipelines.duplicates import BUCKET_ROWS, bucket_count, find_duplicates, pack_records, split_buckets
from pipelines.fetch import parse_allowed_hosts
from pipelines.pairs import Columns, PairsTable, iter_rows, open_pairs, parquet_files
from pipelines.pairs_text import is_text_table, text_to_parquet
from pipelines.progress import progress
from pipelines.shards import STATS_SUFFIX, ShardStats, read_stats, stats_path
from schemas import files, manifest
from schemas.errors import BudgetError, ClipsieveError
from schemas.manifest import Manifest
from schemas.recipe import DownloadOptions
from schemas.uid import uid_bytes

_STATS_THREADS = 16


def run(pairs: str, out: str, options: DownloadOptions, beam_args: Sequence[str] = ()) -> Manifest:
    """Download the table ``pairs`` (Parquet file or folder, CSV, TSV or JSONL) into shards in folder ``out``.

    Shards that an earlier run finished are left as they are. Raises InputError for a table that cannot be
    read or a folder that was begun with another table or recipe, BudgetError when a greater share of the
    pairs than ``options.max_failure_share`` failed (the shards are complete and kept all the same).
    """
    parse_allowed_hosts(options.allow_hosts)
    recipe, inputs = options.model_dump(mode="json"), {"pairs": manifest.input_digest(pairs)}
    if manifest.read_manifest(out) is not None:
        opened = manifest.begin(out, "download", recipe, inputs)
        if opened.complete:
            return _within_budget(opened, options)
    # The folder is begun only now: a table that cannot be read leaves it free for the mended one.
    table = _open_table(pairs, out, inputs["pairs"])
    opened = manifest.begin(out, "download", recipe, inputs)
    plans = plan_shards(table.row_groups, options.shard_size)
    job = ShardJob(out, table.columns, options, naming(len(plans), options.shard_size))
    names = [job.naming.shard(plan.number) for plan in plans]
    with manifest.withdrawn_if_empty(out):
        _download(table, plans, job, beam_args)
    stats = _read_all_stats(out, names)
    counts = count(stats)
    if counts["rows"] != table.rows:
        raise ClipsieveError(f"{out}: its shards account for {counts['rows']} rows of {table.rows}")
    return _within_budget(manifest.finish(out, opened, counts, digest(names, stats)), options)


def count(stats: Iterable[ShardStats]) -> dict[str, int]:
    """The manifest's counts: all input rows, those left out as duplicates, and how the others ended."""
    total: Counter[str] = Counter()
    for shard in stats:
        total["rows"] += shard.count + shard.duplicates
        total["duplicates"] += shard.duplicates
        total["success"] += shard.successes
        total["failed_to_download"] += shard.failed_to_download
        total["failed_to_resize"] += shard.failed_to_resize
        total.update({f"error_{name}": rows for name, rows in sorted(shard.error_classes.items())})
    return dict(total)


def digest(names: Sequence[str], stats: Sequence[ShardStats]) -> str:
    """Hex SHA-256 over each shard's name, tar and rows."""
    shards = zip(names, stats, strict=True)
    return files.sha256_text(*(f"{name} {shard.tar_sha256} {shard.rows_digest}" for name, shard in shards))


def _open_table(pairs: str, out: str, input_digest: str) -> PairsTable:
    if not is_text_table(pairs):
        return open_pairs(parquet_files(pairs))
    copy = files.join(out, "_pairs", f"{input_digest[:16]}.parquet")
    if not files.exists(copy):
        text_to_parquet(pairs, copy)
    return open_pairs([copy])


def _download(table: PairsTable, plans: Sequence[ShardPlan], job: ShardJob, beam_args: Sequence[str]) -> None:
    """Run the Beam job over the shards that are not done."""
    files.remove_leftovers(job.out)
    rows_of = {stats_path(job.out, job.naming.shard(plan.number)): plan.rows for plan in plans}

    def done_rows() -> int:
        return sum(rows_of.get(path, 0) for path in files.list_files(job.out, STATS_SUFFIX))

    done = set(files.list_files(job.out, STATS_SUFFIX))
    todo = [plan for plan, path in zip(plans, rows_of, strict=True) if path not in done]
    if todo:
        with progress("download", table.rows, done_rows):
            engine.run_job(lambda pipeline: _build(pipeline, table, todo, job), len(todo), beam_args)


def _build(pipeline: beam.Pipeline, table: PairsTable, todo: Sequence[ShardPlan], job: ShardJob) -> None:
    duplicates = (
        pipeline
        | "UidRanges" >> beam.Create(plan_shards(table.row_groups, BUCKET_ROWS))
        | "Spread" >> beam.Reshuffle()
        | "Uids" >> beam.FlatMap(_uid_blocks, table.columns, bucket_count(table.rows))
        | "ByBucket" >> beam.GroupByKey()
        | "Duplicates" >> beam.FlatMap(_duplicates_by_shard, job.options.shard_size)
    )
    plans = pipeline | "Shards" >> beam.Create([(plan.number, plan) for plan in todo])
    joined = {"plan": plans, "duplicates": duplicates} | "ByShard" >> beam.CoGroupByKey()
    _ = joined | "Download" >> beam.FlatMap(_download_joined, job)


def _uid_blocks(span: ShardPlan, columns: Columns, buckets: int) -> Iterator[tuple[int, bytes]]:
    """The uids of ``BUCKET_ROWS`` input rows, packed by bucket."""
    uids = [uid_bytes(with_uids(rows)["uid"]) for rows in iter_rows(span.slices, columns, with_extra=False)]
    yield from split_buckets(pack_records(np.concatenate(uids), span.number * BUCKET_ROWS), buckets)


def _duplicates_by_shard(bucket: tuple[int, Iterable[bytes]], shard_size: int) -> Iterator[tuple[int, bytes]]:
    """A bucket's repeated rows -> (shard, its rows as int64 bytes, counted within it)."""
    repeated = find_duplicates(list(bucket[1]))
    for shard in np.unique(repeated // shard_size):
        yield int(shard), (repeated[repeated // shard_size == shard] % shard_size).tobytes()


def _download_joined(joined: tuple[int, dict[str, Iterable]], job: ShardJob) -> Iterator[str]:
    """Download a shard that has a plan; one that an earlier run finished has duplicates alone."""
    rows = np.frombuffer(b"".join(joined[1]["duplicates"]), np.int64)
    for plan in joined[1]["plan"]:
        yield download_shard(plan, rows, job)


def _read_all_stats(out: str, names: Sequence[str]) -> list[ShardStats]:
    with ThreadPoolExecutor(_STATS_THREADS) as pool:
        return list(pool.map(lambda name: read_stats(stats_path(out, name)), names))


def _within_budget(done: Manifest, options: DownloadOptions) -> Manifest:
    failed = done.counts["failed_to_download"] + done.counts["failed_to_resize"]
    share = failed / (failed + done.counts["success"])
    if share > options.max_failure_share:
        raise BudgetError(
            f"{failed} of {failed + done.counts['success']} pairs failed ({share:.1%}), "
            f"more than max_failure_share {options.max_failure_share} allows; what was downloaded is kept"
        )
    return done


if __name__ == "__main__":
    # Under its own name: worker processes, whose __main__ is another, must find what this module defines.
    from pipelines import download

    raise SystemExit(run_command(download.run, ("pairs", "out"), DownloadOptions))
