"""The driver's eye on a download: how its rows end, shown as progress, and the order to stop when too many fail.

finished shards' stats + `.NNNNN.tmp.progress` of those at work -> ends -> progress line, budget -> `_manifest/stop`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from clipsieve.pipelines.download.report import PROGRESS_SUFFIX, progress_path, read_report, stop_path
from clipsieve.pipelines.shards.outcome_counts import (
    DUPLICATES,
    OutcomeCounts,
    asked_of,
    breaks_budget,
    describe,
    failed_of,
    rows_of,
    top_failures,
)
from clipsieve.pipelines.shards.writer import read_stats, stats_path
from clipsieve.schemas import files
from clipsieve.schemas.errors import BudgetError
from clipsieve.schemas.outcomes import Status
from clipsieve.schemas.progress import Reading, progress
from clipsieve.schemas.shards import STATS_SUFFIX
from clipsieve.schemas.threads import map_ahead


class ShardWatch:
    """How the rows of some shards of a folder have ended so far; each finished shard is read once."""

    def __init__(self, out: str, names: Sequence[str]) -> None:
        self._out = out
        self._open = dict.fromkeys(names)
        self._finished = OutcomeCounts()
        self._at_work: dict[str, OutcomeCounts] = {}
        self.shards_finished = 0

    def look(self) -> OutcomeCounts:
        """The ends of all rows that the folder tells of now. A shard given up takes its rows back."""
        listed = _list_names(self._out)
        finished = [name for name in self._open if name + STATS_SUFFIX in listed]
        at_work = [name for name in self._open if files.name_of(progress_path("", name)) in listed]
        for name, ends in zip(finished, map_ahead(self._ends_of_finished, finished), strict=True):
            self._finished.update(ends)
            self.shards_finished += 1
            del self._open[name]
            self._at_work.pop(name, None)
        reports = map_ahead(lambda name: read_report(progress_path(self._out, name)), at_work)
        read = {name: report for name, report in zip(at_work, reports, strict=True) if report is not None}
        # A shard between its last report and its stats keeps what it last told.
        self._at_work = {**self._at_work, **{name: ends for name, ends in read.items() if name in self._open}}
        return sum(self._at_work.values(), OutcomeCounts(self._finished))

    def _ends_of_finished(self, name: str) -> OutcomeCounts:
        stats = read_stats(stats_path(self._out, name))
        return OutcomeCounts({**stats.status_dict, DUPLICATES: stats.duplicates})


@contextmanager
def watched(label: str, out: str, names: Sequence[str], rows: int, max_failure_share: float) -> Iterator[None]:
    """Show, as ``label``, the progress of the shards ``names`` while the block runs their job; ``rows``: input rows.

    When more rows have failed than ``max_failure_share`` of all allows, the workers are told to end; the block
    is expected to end then too, and BudgetError is raised.
    """
    _forget_last_run(out)
    watch = ShardWatch(out, names)
    broken: list[str] = []

    def look() -> Reading:
        ends = watch.look()
        if not broken and rows_of(ends) < rows and breaks_budget(ends, rows, max_failure_share):
            broken.append(_budget_message(ends, rows, max_failure_share))
            files.write_bytes(stop_path(out), broken[0].encode() + b"\n")
        return Reading(rows_of(ends), ends[Status.SUCCESS.value], describe(ends))

    with progress(label, rows, look):
        yield
    if broken:
        raise BudgetError(
            f"{broken[0]}; finished shards are kept ({watch.shards_finished:,} of {len(names):,}): "
            "run again with a larger `max_failure_share` to resume"
        )


def _budget_message(ends: OutcomeCounts, rows: int, max_failure_share: float) -> str:
    failed, asked = failed_of(ends), asked_of(ends)
    return (
        f"stopped early: {failed:,} of {asked:,} pairs failed so far ({failed / asked:.1%} of them: "
        f"{', '.join(top_failures(ends))}), more than `max_failure_share` {max_failure_share} allows of {rows:,} rows"
    )


def _forget_last_run(out: str) -> None:
    """Remove the order to stop, and the reports of workers that were killed."""
    files.remove(stop_path(out), *(files.join(out, name) for name in _list_names(out) if _is_report(name)))


def _is_report(name: str) -> bool:
    return name.startswith(".") and name.endswith(PROGRESS_SUFFIX)


def _list_names(folder: str) -> set[str]:
    """Names of all files directly in ``folder``, as they are now: object stores' clients keep old listings."""
    fs, inner = files.filesystem(folder)
    fs.invalidate_cache(inner)
    return {files.name_of(path) for path in fs.ls(inner, detail=False)} if fs.isdir(inner) else set()
