"""Pack local pictures with captions into shards as `download` writes them.

folder: pictures and sidecars --+
                                +-> OUT/_pairs/pictures.parquet -> repeated uids -> shards, one element each
table: paths and captions ------+
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory

import apache_beam as beam
import numpy as np

from clipsieve.pipelines.download.graph import write_shards
from clipsieve.pipelines.download.nothing_came import withdraw_bare
from clipsieve.pipelines.download.passes import Pass, plan_passes
from clipsieve.pipelines.download.report import JobStoppedError, report_shard
from clipsieve.pipelines.download.totals import finish, within_budget
from clipsieve.pipelines.download.watch import watched
from clipsieve.pipelines.engine import runner
from clipsieve.pipelines.pack.input import open_rows, write_rows
from clipsieve.pipelines.pack.shard import PackJob, pack_shard
from clipsieve.pipelines.pairs.plan import ShardPlan
from clipsieve.schemas import files, manifest, tables
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.options import PackOptions
from clipsieve.schemas.outcomes import ErrorClass

ROWS_NAME = "pictures.parquet"
WAYS_OUT = {
    ErrorClass.INVALID_URL: "look at the column of paths",
    ErrorClass.SCHEME_NOT_ALLOWED: "`clipsieve download` takes URLs",
    ErrorClass.FORBIDDEN_PATH: "--root DIR names the folder below which files may be read",
    ErrorClass.FILE_NOT_FOUND: "a path is relative to the table's folder",
    ErrorClass.NO_CAPTION: "--caption names the files that hold the captions of a folder",
}
"""What to do when every row failed so."""


def run(
    pictures: str,
    out: str,
    options: PackOptions,
    beam_args: Sequence[str] = (),
    root: str | None = None,
    opt_out: str | None = None,
) -> Manifest:
    """Pack ``pictures``, a folder or a table of paths and captions, into shards in folder ``out``.

    No file is read that is not below ``root``: by default the folder, or the table's folder. Shards that an earlier run
    finished are left as they are, but a folder without an image is begun anew. The input is the paths, captions and
    other columns: with others a folder that was begun and has an image is refused. Raises InputError as `write_rows`
    does, and BudgetError when a greater share of the pairs than ``options.max_failure_share``, or every one, failed
    (what was packed is kept all the same).
    """
    with only_writer(out), TemporaryDirectory(prefix="clipsieve-") as scratch:
        listed = Path(scratch) / ROWS_NAME
        below = write_rows(pictures, root, options, listed)
        inputs = {"pictures": tables.content_digest(str(listed)), **load_opt_out(opt_out).inputs}
        open_rows(str(listed), options)  # an input that is refused leaves the folder free for the fixed one
        found = manifest.read_manifest(out)
        if found is not None:
            withdraw_bare(out, found, options)  # other options find other rows, and what was missing may be there now
        opened = manifest.begin(out, options, inputs)
        if not opened.complete:
            rows = files.join(out, "_pairs", ROWS_NAME)
            with listed.open("rb") as source, files.atomic_write(rows) as copy:
                copyfileobj(source, copy)
            this = plan_passes(open_rows(rows, options), out, options, 0)[0]
            with manifest.withdrawn_if_empty(out):
                _pack(this, out, options, below.real, opt_out, beam_args)
            opened = finish([this], out, opened)
        return within_budget(out, opened, options.max_failure_share, WAYS_OUT)


def _pack(this: Pass, out: str, options: PackOptions, root: str, opt_out: str | None, beam_args: Sequence[str]) -> None:
    """Run the Beam job over the shards that are not done."""
    todo = this.todo(out)
    threads = runner.threads_per_worker(len(todo), beam_args) + 1  # one reads while the others decode
    job = PackJob(out, this.table.columns, options, this.naming, root, threads, opt_out)
    with files.without_leftovers(out):
        if todo:
            with watched("pack", out, this.names, this.table.rows, options.max_failure_share):
                write_shards(this.table, todo, options.shard_size, "Pack" >> beam.ParDo(_PackShards(job)), beam_args)


class _PackShards(beam.DoFn):
    """(shard, int64[D] rows of it to leave out) -> the shard's files."""

    def __init__(self, job: PackJob) -> None:
        self._job = job

    def process(self, element: tuple[ShardPlan, np.ndarray]) -> None:
        plan, duplicates = element
        name = self._job.naming.shard(plan.number)
        with suppress(JobStoppedError), report_shard(self._job.out, name, len(duplicates)) as tally:
            pack_shard(plan, duplicates, self._job, tally)
