"""What a worker tells of the shard at work: to the driver by a small hidden file, to the runner by Beam's counters.

The file is ``.00003.tmp.progress`` next to the shard, replaced every second or so; the marker ``_manifest/stop`` is the
driver's answer. Files work alike on every runner, which hands nothing else over before an element is done.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from apache_beam.metrics import Metrics
from fsspec.implementations.local import LocalFileSystem

from clipsieve.pipelines.shards.outcome_counts import DUPLICATES, OutcomeCounts, class_of, end_name
from clipsieve.schemas import files, strict_json

PROGRESS_SUFFIX = ".tmp.progress"  # a temporary file, which `files.without_leftovers` removes after a kill
_LOCAL_SECONDS = 1.0
_REMOTE_SECONDS = 10.0  # an object store bills each write
_NAMESPACE = "download"


class JobStoppedError(Exception):
    """The driver ended the job: the shard at work is given up, as if the worker had been killed."""


class ShardTally:
    """How the rows of the shard at work have ended so far. Made by `report_shard`."""

    def __init__(self, duplicates: int) -> None:
        self.ends = OutcomeCounts({DUPLICATES: duplicates} if duplicates else {})
        self.is_stopped = False
        """Whether the shard is to be given up: the driver has ended the job, or the shard's bundle has failed."""

    def check(self) -> None:
        """Raises JobStoppedError once the shard is to be given up."""
        if self.is_stopped:
            raise JobStoppedError

    def add(self, error_class: str | None, http_status: int | None) -> None:
        """Count a row. Raises as `check` does."""
        self.check()
        self.ends[end_name(error_class, http_status)] += 1


@contextmanager
def report_shard(folder: str, name: str, duplicates: int) -> Iterator[ShardTally]:
    """Report how far the shard ``name`` is while the block writes it, and count it for Beam when it is written.

    To be entered in the thread in which Beam runs the element: its counters are that thread's. ``duplicates``
    rows of the shard are left out. Raises JobStoppedError where the job is ended already.
    """
    if is_stopped(folder):
        raise JobStoppedError
    tally, ended = ShardTally(duplicates), threading.Event()
    path = progress_path(folder, name)
    reporter = threading.Thread(target=_report, args=(folder, path, tally, ended), name="report", daemon=True)
    reporter.start()
    try:
        yield tally
    finally:
        tally.is_stopped = True  # a shard that is still at work when its block is left has nobody who waits for it
        ended.set()
        reporter.join()
        files.remove(path)
    _count(tally.ends)


def progress_path(folder: str, name: str) -> str:
    return files.join(folder, f".{name}{PROGRESS_SUFFIX}")


def stop_path(folder: str) -> str:
    return files.join(folder, "_manifest", "stop")


def is_stopped(folder: str) -> bool:
    """Whether the driver asks all workers on ``folder`` to end."""
    fs, inner = files.filesystem(stop_path(folder))
    fs.invalidate_cache(inner)
    return bool(fs.exists(inner))


def read_report(path: str) -> OutcomeCounts | None:
    """What a worker last wrote; None where its shard has just been finished or given up."""
    fs, inner = files.filesystem(path)
    try:
        return OutcomeCounts(json.loads(fs.cat_file(inner)))
    except FileNotFoundError:
        return None


def _report(folder: str, path: str, tally: ShardTally, ended: threading.Event) -> None:
    is_local = isinstance(files.filesystem(folder)[0], LocalFileSystem)
    while not ended.wait(_LOCAL_SECONDS if is_local else _REMOTE_SECONDS):
        tally.is_stopped = tally.is_stopped or is_stopped(folder)
        # A lost report costs a line of progress; of a disk that is full the shard's own writes will tell.
        with suppress(OSError):
            _replace(path, strict_json.dumps(dict(tally.ends)).encode())


def _replace(path: str, data: bytes) -> None:
    """Write atomically but, unlike `files.write_bytes`, without waiting for the disk: nothing rests on it."""
    fs, inner = files.filesystem(path)
    if not isinstance(fs, LocalFileSystem):
        fs.pipe_file(inner, data)
        return
    temporary = f"{inner}.{uuid.uuid4().hex}"
    fs.pipe_file(temporary, data)
    fs.mv(temporary, inner)


def _count(ends: OutcomeCounts) -> None:
    """Add a written shard to Beam's counters; a runner that does a shard twice counts it twice, the stats do not."""
    for name, rows in ends.items():
        Metrics.counter(_NAMESPACE, class_of(name)).inc(rows)
