"""The work of one shard: read its rows, ask for their URLs, make images of the answers, write the shard.

    rows --(batches)--> URLs --(fetches in flight)--> bodies --(decoding threads)--> images --(input order)--> tar

What a shard holds on to at a time has a bound in rows and one in bytes, so that memory does not grow with the
number of rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from clipsieve.pipelines.download.in_order import in_order
from clipsieve.pipelines.download.input import Pair, PairBatch, iter_batches
from clipsieve.pipelines.download.outcome import Body, end_columns, opted_out_columns, outcome_of_body
from clipsieve.pipelines.download.report import ShardTally
from clipsieve.pipelines.download.worker import DownloadWorker
from clipsieve.pipelines.fetch.codings import decoded
from clipsieve.pipelines.fetch.fetcher import Fetched
from clipsieve.pipelines.images.header import image_format
from clipsieve.pipelines.pairs.plan import Naming, ShardPlan
from clipsieve.pipelines.pairs.table import Columns
from clipsieve.pipelines.shards.writer import RowOutcome, open_shard
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import ErrorClass

# How far results may run ahead of the slowest URL before them: this many times the fetches in flight (by default
# 2,048 images, some 60 MB), and these bytes of rows and images.
_WINDOW = 32
_HELD_BYTES = 64 << 20


@dataclass(frozen=True)
class ShardJob:
    """What is the same for every shard of a download."""

    out: str
    columns: Columns
    options: DownloadOptions
    naming: Naming
    opt_out: str | None = None
    """Path of the opt-out list."""


def download_shard(
    plan: ShardPlan, duplicates: np.ndarray, job: ShardJob, worker: DownloadWorker, tally: ShardTally
) -> None:
    """Download one shard; ``duplicates`` int64[D] are the rows of it to leave out.

    Reads and writes in this thread; what lies between happens on the worker's loop and in its decoding threads.
    Raises JobStoppedError when the driver has ended the job; nothing of the shard is left then.
    """
    batches = iter_batches(plan, duplicates, job.columns, job.naming, load_opt_out(job.opt_out))
    first = next(batches)
    name, image_format = job.naming.shard(plan.number), job.options.encode_format
    rows = _RowsInFlight(chain([first], batches), job, worker, tally)
    with (
        open_shard(job.out, name, first.passed, len(duplicates), image_format) as shard,
        closing(worker.iterate(rows.ended(), tally.check)) as ended,
    ):
        for batch, outcomes in ended:
            shard.write(batch.rows, outcomes)


class _RowsInFlight:
    """The rows of a shard between reading and writing. Lives on the worker's loop."""

    def __init__(self, batches: Iterator[PairBatch], job: ShardJob, worker: DownloadWorker, tally: ShardTally) -> None:
        self._batches = batches
        self._options = job.options
        self._opt_out = load_opt_out(job.opt_out)
        self._worker = worker
        self._tally = tally
        self._begun: deque[PairBatch] = deque()
        self._held_bytes = 0

    async def ended(self) -> AsyncGenerator[tuple[PairBatch, list[RowOutcome]], None]:
        """The batches in order, each when all of its rows have ended. Empty ones are left out."""
        outcomes: list[RowOutcome] = []
        async with aclosing(in_order(self._pairs(), self._work, self._is_full)) as ended:
            async for outcome in ended:
                outcomes.append(outcome)
                if len(outcomes) == len(self._begun[0].pairs):
                    batch = self._begun.popleft()
                    yield batch, outcomes
                    self._held_bytes -= batch.rows.nbytes + sum(len(one.image or b"") for one in outcomes)
                    outcomes = []

    async def _pairs(self) -> AsyncGenerator[Pair, None]:
        loop = asyncio.get_running_loop()
        async with self._worker.asking:
            while (batch := await loop.run_in_executor(self._worker.reader, next, self._batches, None)) is not None:
                if batch.pairs:
                    self._begun.append(batch)
                    self._held_bytes += batch.rows.nbytes
                for pair in batch.pairs:
                    yield pair

    def _is_full(self, begun: int) -> bool:
        return begun >= _WINDOW * self._options.concurrency or self._held_bytes >= _HELD_BYTES

    async def _work(self, pair: Pair) -> RowOutcome:
        outcome = _opted_out(Fetched()) if pair.is_opted_out else await self._download(pair)
        self._held_bytes += len(outcome.image or b"")
        self._tally.add(outcome.columns["error_class"], outcome.columns["http_status"])
        return outcome

    async def _download(self, pair: Pair) -> RowOutcome:
        async with self._worker.in_flight:
            fetched = await self._worker.fetcher.fetch(pair.url, pair.uid)
            if fetched.body is None:
                return RowOutcome(_columns(fetched, fetched.error_class, fetched.error_message))
            if fetched.final_url != pair.url and self._opt_out.forbids_url(fetched.final_url or ""):
                return _opted_out(fetched)
            judge = partial(_outcome_of_body, fetched, fetched.body, pair, self._options)
            return await self._worker.decoders.run(judge)


def _opted_out(fetched: Fetched) -> RowOutcome:
    return RowOutcome(_columns(fetched, None, None) | opted_out_columns())


def _outcome_of_body(fetched: Fetched, data: bytes, pair: Pair, options: DownloadOptions) -> RowOutcome:
    # An image is one, whatever its server calls it.
    content = data if image_format(data) else decoded(data, fetched.content_encoding, options.max_bytes + 1)
    body = Body(data, content, fetched.content_encoding)
    if len(content) > options.max_bytes:
        message = f"more than {options.max_bytes} bytes in Content-Encoding {body.coding}"
        return RowOutcome(_columns(fetched, ErrorClass.TOO_LARGE, message) | body.columns(pair.sha256))
    return outcome_of_body(body, pair, options, partial(_columns, fetched))


def _columns(fetched: Fetched, error_class: ErrorClass | None, message: str | None) -> dict[str, Any]:
    return {
        **end_columns(error_class, message),
        "final_url": fetched.final_url,
        "http_status": fetched.http_status,
        "consent": fetched.consent.value if fetched.consent else None,
        "attempts": fetched.attempts,
        "fetched_at": fetched.fetched_at,
        "content_type": fetched.content_type,
    }
