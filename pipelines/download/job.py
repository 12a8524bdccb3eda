"""Download a table of (URL, caption) pairs into shards that img2dataset's and webdataset's readers read.

What runs on the workers is wired in graph.py; here a folder is opened, gets one pass or more, and is closed.
"""

from __future__ import annotations

from collections.abc import Sequence

from clipsieve.pipelines.download.graph import download_shards
from clipsieve.pipelines.download.nothing_came import begin
from clipsieve.pipelines.download.passes import Pass, plan_passes, write_retry_table
from clipsieve.pipelines.download.shard import ShardJob
from clipsieve.pipelines.download.totals import finish, within_budget
from clipsieve.pipelines.download.watch import watched
from clipsieve.pipelines.fetch.addresses import parse_allowed_hosts
from clipsieve.pipelines.pairs.formats import text_format
from clipsieve.pipelines.pairs.table import PairsTable, open_pairs, parquet_files
from clipsieve.pipelines.pairs.text import text_to_parquet
from clipsieve.schemas import files, manifest
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.terminal import say


def run(
    pairs: str,
    out: str,
    options: DownloadOptions,
    beam_args: Sequence[str] = (),
    retry_failed: bool = False,
    opt_out: str | None = None,
) -> Manifest:
    """Download the table ``pairs`` (Parquet file or folder, CSV, TSV or JSON) into shards in folder ``out``.

    Shards that an earlier run finished are left as they are. With ``retry_failed`` a folder that is complete gets
    another pass: the rows whose failure is retryable are tried again, into added shards. What the file ``opt_out``
    lists is not requested. Raises InputError for a table that cannot be read or a folder that was begun with
    another table or recipe and has an image, BudgetError when a greater share of the pairs than
    ``options.max_failure_share``, or every one, failed (what was downloaded is kept all the same).
    """
    parse_allowed_hosts(options.allow_hosts)
    inputs = {"pairs": manifest.input_digest(pairs), **load_opt_out(opt_out).inputs}
    with only_writer(out):
        # A retry is of rows that failed under the recipe that they failed under; all others may begin anew.
        open_again = manifest.begin if retry_failed else begin
        opened = open_again(out, options, inputs) if manifest.read_manifest(out) else None
        if retry_failed and not (opened and (opened.complete or opened.earlier)):
            raise InputError(
                f"{out}: there is nothing to retry before download is complete; run it without --retry-failed"
            )
        if opened and opened.complete and not retry_failed:
            return within_budget(out, opened, options.max_failure_share)
        # The folder is begun only now: a table that cannot be read leaves it free for the fixed one.
        table = _open_table(pairs, out, inputs["pairs"], options)
        opened = opened or manifest.begin(out, options, inputs)
        passes = plan_passes(table, out, options, len(opened.earlier))
        if opened.complete:
            if not write_retry_table(out, passes[-1]):
                say(f"{out}: no failed row is retryable; there is nothing to retry", is_error=True)
                return within_budget(out, opened, options.max_failure_share)
            passes = plan_passes(table, out, options, len(passes))
            opened = manifest.reopen(out, opened, options, inputs)
        with manifest.withdrawn_if_empty(out):
            _download(passes[-1], out, options, opt_out, beam_args)
        return within_budget(out, finish(passes, out, opened), options.max_failure_share)


def _open_table(pairs: str, out: str, input_digest: str, options: DownloadOptions) -> PairsTable:
    form = text_format(pairs, options.columns)
    if form is not None:
        named = (files.sha256_text(input_digest, *options.columns) if options.columns else input_digest)[:16]
        copy = files.join(out, "_pairs", f"{named}.parquet")
        if not files.exists(copy):
            text_to_parquet(pairs, form, copy, options.columns)
        pairs = copy
    return open_pairs(parquet_files(pairs), options.bbox_col, options.verify_sha256)


def _download(this: Pass, out: str, options: DownloadOptions, opt_out: str | None, beam_args: Sequence[str]) -> None:
    """Run the Beam job over the shards of a pass that are not done."""
    job = ShardJob(out, this.table.columns, options, this.naming, opt_out)
    todo = this.todo(out)
    # What a later pass tries has failed and been counted before: it cannot break the budget.
    budget = 1.0 if this.number else options.max_failure_share
    with files.without_leftovers(out):
        if todo:
            with watched("download", out, this.names, this.table.rows, budget):
                download_shards(this.table, todo, job, beam_args)
