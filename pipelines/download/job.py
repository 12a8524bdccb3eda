"""Download a table of (URL, caption) pairs into shards that img2dataset's and webdataset's readers read.

What runs on the workers is wired in graph.py; here a folder is opened, gets one pass or more, and is closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from clipsieve.pipelines.download.dead_letters import write_dead_letters
from clipsieve.pipelines.download.graph import download_shards
from clipsieve.pipelines.download.nothing_came import begin, refuse_nothing
from clipsieve.pipelines.download.passes import Pass, plan_passes, write_retry_table
from clipsieve.pipelines.download.shard import ShardJob
from clipsieve.pipelines.download.totals import count, digest
from clipsieve.pipelines.download.watch import watched
from clipsieve.pipelines.fetch.addresses import parse_allowed_hosts
from clipsieve.pipelines.pairs.formats import DELIMITERS, text_format
from clipsieve.pipelines.pairs.table import PairsTable, open_pairs, parquet_files
from clipsieve.pipelines.pairs.text import text_to_parquet
from clipsieve.pipelines.shards.writer import ShardStats, read_stats, stats_path
from clipsieve.schemas import files, manifest
from clipsieve.schemas.counts import DownloadCounts
from clipsieve.schemas.errors import BudgetError, ClipsieveError, InputError
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.shards import STATS_SUFFIX
from clipsieve.schemas.terminal import say
from clipsieve.schemas.threads import map_ahead


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
            return _within_budget(out, opened, options)
        # The folder is begun only now: a table that cannot be read leaves it free for the fixed one.
        table = _open_table(pairs, out, inputs["pairs"], options)
        opened = opened or manifest.begin(out, options, inputs)
        passes = plan_passes(table, out, options, len(opened.earlier))
        if opened.complete:
            if not write_retry_table(out, passes[-1]):
                say(f"{out}: no failed row is retryable; there is nothing to retry", is_error=True)
                return _within_budget(out, opened, options)
            passes = plan_passes(table, out, options, len(passes))
            opened = manifest.reopen(out, opened, options, inputs)
        with manifest.withdrawn_if_empty(out):
            _download(passes[-1], out, options, opt_out, beam_args)
        return _within_budget(out, _finish(passes, out, opened), options)


def _finish(passes: Sequence[Pass], out: str, opened: Manifest) -> Manifest:
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


def _open_table(pairs: str, out: str, input_digest: str, options: DownloadOptions) -> PairsTable:
    form = text_format(pairs)
    if options.columns and (form is None or form.kind not in DELIMITERS):
        raise InputError(f"{pairs}: its columns have names; `columns` is for a CSV or TSV that has no header")
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
    done = set(files.list_files(out, STATS_SUFFIX))
    todo = [plan for plan, name in zip(this.plans, this.names, strict=True) if stats_path(out, name) not in done]
    # What a later pass tries has failed and been counted before: it cannot break the budget.
    budget = 1.0 if this.number else options.max_failure_share
    with files.without_leftovers(out):
        if todo:
            with watched(out, this.names, this.table.rows, budget):
                download_shards(this.table, todo, job, beam_args)


def _read_all_stats(out: str, names: Sequence[str]) -> list[ShardStats]:
    return list(map_ahead(lambda name: read_stats(stats_path(out, name)), names))


def _within_budget(out: str, done: Manifest, options: DownloadOptions) -> Manifest:
    counts = done.counted(DownloadCounts)
    refuse_nothing(out, counts)
    share = counts.failed / counts.distinct
    if share > options.max_failure_share:
        raise BudgetError(
            f"{counts.failed} of {counts.distinct} pairs failed ({share:.1%}), "
            f"more than `max_failure_share` {options.max_failure_share} allows; what was downloaded is kept"
        )
    return done
