"""Index the shards of another tool in one job over tars, whose headers alone are read.

    tars -> OUT/NAME.parquet                      (rows.py)
         -> uids by bucket -> rows that repeat an earlier one's uid
         -> OUT/NAME.parquet without them, OUT/NAME_stats.json last, as the commit mark

The folders of the tars are never written to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from clipsieve.pipelines.engine import runner
from clipsieve.pipelines.engine.parts import ListParts, Part, folder_digest, read_parts
from clipsieve.pipelines.index.rows import COLUMNS, SourceShard, index_rows
from clipsieve.pipelines.pairs.duplicates import bucket_count, find_duplicates, pack_records, split_buckets
from clipsieve.schemas import files, manifest, strict_json, tables
from clipsieve.schemas.counts import IndexCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.naming import MemberNaming
from clipsieve.schemas.options import IndexOptions
from clipsieve.schemas.progress import Reading, progress
from clipsieve.schemas.shards import STATS_SUFFIX, TARS_NAME, IndexedTars, tars_of
from clipsieve.schemas.uid import uid_bytes

SHARDS_PER_WORKER = 8
"""Tars whose scan is worth the seconds in which a worker process starts."""
_ROWS_A_SHARD = 1 << 32
"""Row r of the shard number s is the row s·2^32 + r of the pool."""
_USUAL_ROWS = 10_000


def run(shards: Sequence[str], out: str, options: IndexOptions, beam_args: Sequence[str] = ()) -> Manifest:
    """Index the tars of the folders ``shards`` into the folder ``out``, which stands for them from then on.

    A shard has its tar's name; of several folders, with the folder's number before it. Of samples with one uid the
    first is kept, in the order of folders and tars. A tar without a stats file is left out where others of its folder
    have one: its writer has not finished it. Raises InputError for a folder without tars, and as `index_rows`.
    """
    found, unfinished = _find_tars(shards)
    inputs = {_input_name(number): manifest.input_digest(folder) for number, folder in enumerate(shards)}
    with only_writer(out):
        opened = manifest.begin(out, options, inputs)
        if opened.complete:
            return opened
        tars = IndexedTars(naming=MemberNaming(captions=options.captions), tars={each.name: each.tar for each in found})
        files.write_if_changed(files.join(out, TARS_NAME), tars.model_dump_json(indent=1).encode() + b"\n")
        tars_of.cache_clear()
        with (
            files.without_leftovers(out),
            progress("index (shards)", len(found), lambda: Reading(len(files.list_files(out, STATS_SUFFIX)))),
        ):
            runner.run_job(_build(len(found), out, options), -(-len(found) // SHARDS_PER_WORKER), beam_args)
        return _finish(out, opened, unfinished)


def _input_name(number: int) -> str:
    return f"source {number}" if number else "source"


def _find_tars(folders: Sequence[str]) -> tuple[list[SourceShard], int]:
    """The tars to index, in order, and how many are left out."""
    found, unfinished = [], 0
    for number, folder in enumerate(folders):
        paths = files.list_files(folder, "")
        stems = {suffix: _stems(paths, suffix) for suffix in (".tar", STATS_SUFFIX, ".parquet")}
        if not stems[".tar"]:
            raise InputError(f"{folder}: no tar in this folder")
        for suffix, named in stems.items():
            if lost := sorted(named.keys() - stems[".tar"].keys()):
                raise InputError(f"{folder}: the tar of {lost[0]}{suffix} is missing; restore it, or remove that file")
        for name, tar in stems[".tar"].items():
            if stems[STATS_SUFFIX] and name not in stems[STATS_SUFFIX]:
                unfinished += 1
                continue
            found.append(SourceShard(f"{number}-{name}" if len(folders) > 1 else name, files.absolute(tar)))
    return found, unfinished


def _stems(paths: Sequence[str], suffix: str) -> dict[str, str]:
    """The paths that end in ``suffix``, by their names without it, in order."""
    return {files.name_of(path).removesuffix(suffix): path for path in paths if path.endswith(suffix)}


def _build(shards: int, out: str, options: IndexOptions) -> Callable[[beam.Pipeline], None]:
    buckets = bucket_count(shards * _USUAL_ROWS)

    def build(pipeline: beam.Pipeline) -> None:
        numbers = pipeline | "Shards" >> beam.Create(list(range(shards)))
        scanned = numbers | "Scan" >> beam.ParDo(ScanShard(out, options, buckets)).with_outputs("uids", main="counts")
        repeats = (
            scanned.uids
            | "By uid" >> beam.GroupByKey()
            | "Repeats" >> beam.FlatMapTuple(lambda _, blocks: repeats_of(list(blocks)))
        )
        (
            {"counts": scanned.counts, "repeats": repeats}
            | "By shard" >> beam.CoGroupByKey()
            | "Close" >> beam.MapTuple(lambda number, of: close_shard(_source(out, number).name, out, **of))
            | "List" >> ListParts(out)
        )

    return build


def _source(out: str, number: int) -> SourceShard:
    """Which shard has this number: the list is read by each worker, for a job's graph has no room for it."""
    return SourceShard(*tars_of(out).numbered[number])


class ScanShard(beam.DoFn):
    """A shard's number -> (number, its counts), and as ``uids`` its rows' uids by bucket; its table is written.

    A shard that an earlier run closed is read back.
    """

    def __init__(self, out: str, options: IndexOptions, buckets: int) -> None:
        self.out, self.options, self.buckets = out, options, buckets

    def process(self, number: int) -> Iterator[tuple[int, dict[str, int]] | beam.pvalue.TaggedOutput]:
        shard = _source(self.out, number)
        path = files.join(self.out, f"{shard.name}.parquet")
        counts: Counter[str] = Counter()
        if not files.exists(files.join(self.out, f"{shard.name}{STATS_SUFFIX}")):
            rows, counts = index_rows(shard, self.options)
            tables.write_table(rows, tables.SHARDS, path, COLUMNS)
        uids = uid_bytes(tables.read_table(path, tables.SHARDS, ["uid"])["uid"])
        yield number, dict(counts)
        for bucket, records in split_buckets(pack_records(uids, number * _ROWS_A_SHARD), self.buckets):
            yield beam.pvalue.TaggedOutput("uids", (bucket, records))


def repeats_of(blocks: Sequence[bytes]) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of records of one bucket -> each shard's rows that repeat an earlier uid, with the shard's number."""
    shards, rows = np.divmod(find_duplicates(blocks), _ROWS_A_SHARD)
    for number in np.unique(shards).tolist():
        yield number, rows[shards == number]


def close_shard(name: str, out: str, counts: Iterable[dict[str, int]], repeats: Iterable[np.ndarray]) -> Part:
    """Take the repeats out of a shard's table and write its stats file; returns its part, with what was left out."""
    path, stats = (files.join(out, f"{name}{suffix}") for suffix in (".parquet", STATS_SUFFIX))
    if not files.exists(stats):
        with tables.open_parquet(path) as parquet:
            rows = parquet.read(use_threads=False)
        (left_out,) = counts
        is_kept = np.ones(len(rows), bool)
        for places in repeats:
            is_kept[places] = False
        if not is_kept.all():
            left_out = left_out | {"duplicates": left_out.get("duplicates", 0) + int((~is_kept).sum())}
            rows = rows.filter(pa.array(is_kept))
            tables.write_table(rows, tables.SHARDS, path, COLUMNS)
        content: dict[str, Any] = {
            "count": len(rows),
            "successes": len(rows),
            "failed_to_download": 0,
            "failed_to_resize": 0,
        }
        content |= {"rows_digest": tables.content_digest(path), "left_out": left_out}
        files.write_bytes(stats, strict_json.dumps(content, indent=1).encode() + b"\n")
    content = json.loads(files.read_bytes(stats))
    return Part(f"{name}.parquet", content["rows_digest"], content["count"], content["left_out"])


def _finish(out: str, opened: Manifest, unfinished: int) -> Manifest:
    parts = read_parts(out)
    sums: Counter[str] = sum((Counter(part.left_out) for part in parts), Counter())
    pairs = sum(part.rows for part in parts)
    if not pairs:
        raise InputError(f"{out}: no sample with an image and a caption in these tars ({_shown(sums)}); see `captions`")
    counts = IndexCounts(pairs=pairs, shards=len(parts), unfinished=unfinished, **sums)
    return manifest.finish(out, opened, counts, folder_digest(parts))


def _shown(sums: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(sums.items())) or "they are empty"
