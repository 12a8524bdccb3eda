"""Download as a Beam job: which rows repeat a uid, then each shard in one step.

    on this machine:   uids -> buckets on disk -> a bit a row --------------------+
                                                                shards -> fetch, decode, write
    on other runners:  uid ranges -> packed uids -> by bucket -> repeated rows -> by shard

Only uids, row numbers and plans cross a shuffle; a shard's rows are read, and its images live, in one step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apache_beam as beam
import numpy as np

from clipsieve.pipelines.download.report import JobStoppedError, ShardTally, report_shard
from clipsieve.pipelines.download.shard import ShardJob, download_shard
from clipsieve.pipelines.download.worker import process_worker, return_freed_memory
from clipsieve.pipelines.engine import runner
from clipsieve.pipelines.pairs.duplicates import (
    BUCKET_ROWS,
    bucket_count,
    find_duplicates,
    find_repeats,
    pack_records,
    repeats_in,
    split_buckets,
)
from clipsieve.pipelines.pairs.plan import ShardPlan, plan_shards
from clipsieve.pipelines.pairs.table import Columns, PairsTable, iter_rows
from clipsieve.schemas.threads import Future
from clipsieve.schemas.uid import uid_bytes

# One whose rows are begun, and one whose last URLs have their time: nobody waits for the slowest of a shard.
_SHARDS_AT_A_TIME = 2


def download_shards(table: PairsTable, todo: Sequence[ShardPlan], job: ShardJob, beam_args: Sequence[str]) -> None:
    """Download ``todo``, some of the shards that ``table`` was cut into.

    When the driver stops the job, shards are left undone without an error: a runner would try them again.
    """
    write_shards(table, todo, job.options.shard_size, "Download" >> beam.ParDo(_DownloadShards(job)), beam_args)


def write_shards(
    table: PairsTable, todo: Sequence[ShardPlan], shard_size: int, write: beam.PTransform, beam_args: Sequence[str]
) -> None:
    """Run ``write`` over ``todo``, some of the shards of ``shard_size`` rows that ``table`` was cut into.

    Its elements are (shard, int64[D] rows of it to leave out, for they repeat an earlier row's uid).
    """
    if runner.names_runner(beam_args):
        runner.run_job(lambda pipeline: _build(pipeline, table, todo, shard_size, write), len(todo), beam_args)
        return
    return_freed_memory()
    with TemporaryDirectory(prefix="clipsieve-") as scratch:
        uids = (_uids(span, table.columns) for span in plan_shards(table.row_groups, BUCKET_ROWS))
        repeats = find_repeats(uids, table.rows, Path(scratch))
        runner.run_job(lambda pipeline: _build_local(pipeline, repeats, todo, write), len(todo), beam_args)


def _build_local(pipeline: beam.Pipeline, repeats: Path, todo: Sequence[ShardPlan], write: beam.PTransform) -> None:
    _ = (
        pipeline
        | "Shards" >> beam.Create(todo)
        | "Spread" >> beam.Reshuffle()
        | "Repeats" >> beam.Map(_with_repeats, repeats)
        | write
    )


def _build(
    pipeline: beam.Pipeline, table: PairsTable, todo: Sequence[ShardPlan], shard_size: int, write: beam.PTransform
) -> None:
    duplicates = (
        pipeline
        | "UidRanges" >> beam.Create(plan_shards(table.row_groups, BUCKET_ROWS))
        | "Spread" >> beam.Reshuffle()
        | "Uids" >> beam.FlatMap(_uid_blocks, table.columns, bucket_count(table.rows))
        | "ByBucket" >> beam.GroupByKey()
        | "Duplicates" >> beam.FlatMap(_duplicates_by_start, shard_size)
    )
    plans = pipeline | "Shards" >> beam.Create([(plan.start, plan) for plan in todo])
    joined = {"plan": plans, "duplicates": duplicates} | "ByShard" >> beam.CoGroupByKey()
    _ = joined | "Join" >> beam.FlatMap(_with_duplicates) | write


class _DownloadShards(beam.DoFn):
    """(shard, int64[D] rows of it to leave out) -> the shard's files; the next one is begun while one ends."""

    def __init__(self, job: ShardJob) -> None:
        self._job = job
        self._begun: deque[_Begun] = deque()

    def setup(self) -> None:
        return_freed_memory()
        self._worker = process_worker(self._job.options)

    def teardown(self) -> None:
        self._give_up()  # of a bundle that was left between two elements: by a signal, in the driver's own process
        del self._worker

    def process(self, element: tuple[ShardPlan, np.ndarray]) -> None:
        plan, duplicates = element
        with ExitStack() as report, suppress(JobStoppedError):
            tally = report.enter_context(
                report_shard(self._job.out, self._job.naming.shard(plan.number), len(duplicates))
            )
            done = self._worker.shards.submit(download_shard, plan, duplicates, self._job, self._worker, tally)
            self._begun.append(_Begun(done, tally, report.pop_all()))
        while len(self._begun) >= _SHARDS_AT_A_TIME:
            self._end_oldest()

    def finish_bundle(self) -> None:
        while self._begun:
            self._end_oldest()

    def _end_oldest(self) -> None:
        oldest = self._begun[0]
        with suppress(JobStoppedError), oldest.report:
            try:
                oldest.done.result()
                self._begun.popleft()
            except BaseException:  # a signal, too, which comes while the shard is at work
                self._give_up()
                raise

    def _give_up(self) -> None:
        """End the shards that are begun: their bundle has failed."""
        for begun in self._begun:
            begun.tally.is_stopped = True
        while self._begun:
            begun = self._begun.popleft()
            with suppress(Exception), begun.report:
                begun.done.result()


@dataclass(frozen=True)
class _Begun:
    """A shard at work, and what reports how far it is until it ends."""

    done: Future[None]
    tally: ShardTally
    report: ExitStack


def _with_repeats(plan: ShardPlan, repeats: Path) -> tuple[ShardPlan, np.ndarray]:
    return plan, repeats_in(repeats, plan.start, plan.rows)


def _with_duplicates(joined: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[tuple[ShardPlan, np.ndarray]]:
    """A shard that has a plan; one that an earlier run finished has duplicates alone."""
    rows = np.frombuffer(b"".join(joined[1]["duplicates"]), np.int64)
    yield from ((plan, rows) for plan in joined[1]["plan"])


def _uid_blocks(span: ShardPlan, columns: Columns, buckets: int) -> Iterator[tuple[int, bytes]]:
    """The uids of ``BUCKET_ROWS`` input rows, packed by bucket."""
    yield from split_buckets(pack_records(_uids(span, columns), span.start), buckets)


def _uids(span: ShardPlan, columns: Columns) -> np.ndarray:
    """uint8[N, 16] of the rows of ``span``."""
    return np.concatenate([uid_bytes(rows["uid"]) for rows in iter_rows(span.slices, columns, with_extra=False)])


def _duplicates_by_start(bucket: tuple[int, Iterable[bytes]], shard_size: int) -> Iterator[tuple[int, bytes]]:
    """A bucket's repeated rows -> (where their shard starts in the table, they as int64 bytes, counted from there)."""
    repeated = find_duplicates(list(bucket[1]))
    starts = repeated - repeated % shard_size
    for start in np.unique(starts).tolist():
        yield start, (repeated[starts == start] - start).tobytes()
