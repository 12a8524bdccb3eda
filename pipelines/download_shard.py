"""The work of one shard: read its rows, ask for their URLs, make images of the answers, write the shard.

    rows --(concurrency fetches in flight)--> bodies --(decoding threads)--> images --(input order)--> tar

An answer's bytes live until they are decoded, a small JPEG until the rows before it are written; there is a
bound on how many there are of each.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
import numpy as np
import pyarrow as pa

from pipelines.download_plan import Naming, ShardPlan
from pipelines.fetch import Fetched, fetch, open_session
from pipelines.images import ImageFailure, ProcessedImage, process_image
from pipelines.pairs import Columns, iter_rows
from pipelines.shards import Row, open_shard
from schemas.outcomes import ErrorClass, Status
from schemas.recipe import DownloadOptions
from schemas.uid import uid_of

DECODING_THREADS = 2

# How far results may run ahead of the slowest URL before them: this many times the fetches in flight. By
# default 2,048 small JPEGs, some 60 MB; enough to go on at 100 pairs a second beside a URL that takes 20 s.
_WINDOW = 32

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ShardJob:
    """What is the same for every shard of a download."""

    out: str
    columns: Columns
    options: DownloadOptions
    naming: Naming


@dataclass(frozen=True)
class Pair:
    """One input row to download."""

    uid: str
    url: str
    caption: str
    key: str


def download_shard(plan: ShardPlan, duplicates: np.ndarray, job: ShardJob) -> str:
    """Download one shard; ``duplicates`` int64[D] are the rows of it to leave out. Returns its name."""
    rows = pa.concat_tables(iter_rows(plan.slices, job.columns))
    kept = np.setdiff1d(np.arange(rows.num_rows), duplicates)
    rows = with_uids(rows).take(pa.array(kept))
    keys = [job.naming.key(plan.number, int(row)) for row in kept]
    own = (rows[name].to_pylist() for name in ("uid", "url", "caption"))
    pairs = [Pair(*values) for values in zip(*own, keys, strict=True)]
    name = job.naming.shard(plan.number)
    asyncio.run(_download(pairs, rows.drop_columns(["uid", "url", "caption"]), len(duplicates), name, job))
    return name


def with_uids(rows: pa.Table) -> pa.Table:
    """``rows`` with a uid column: the input's own, else computed from url and caption."""
    if "uid" in rows.schema.names:
        return rows
    pairs = zip(rows["url"].to_pylist(), rows["caption"].to_pylist(), strict=True)
    return rows.append_column("uid", pa.array([uid_of(url, caption) for url, caption in pairs], pa.string()))


async def _download(pairs: list[Pair], extra: pa.Table, duplicates: int, name: str, job: ShardJob) -> None:
    in_flight = asyncio.Semaphore(job.options.concurrency)
    window = _WINDOW * job.options.concurrency
    with (
        ThreadPoolExecutor(DECODING_THREADS) as decoders,
        open_shard(job.out, name, extra, duplicates) as shard,
    ):
        async with open_session(job.options) as session:

            async def work(pair: Pair) -> tuple[Row, bytes | None]:
                async with in_flight:
                    return await _download_pair(session, decoders, pair, job.options)

            async for row, jpeg in in_order(pairs, work, window):
                shard.write(row, jpeg)


async def in_order(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], window: int
) -> AsyncIterator[Result]:
    """The results of ``work`` in the items' order, with at most ``window`` begun and not yet handed on."""
    begun: deque[asyncio.Future[Result]] = deque()
    try:
        for item in items:
            begun.append(asyncio.ensure_future(work(item)))
            if len(begun) == window:
                yield await begun.popleft()
        while begun:
            yield await begun.popleft()
    finally:
        for future in begun:
            future.cancel()
        await asyncio.gather(*begun, return_exceptions=True)


async def _download_pair(
    session: aiohttp.ClientSession, decoders: Executor, pair: Pair, options: DownloadOptions
) -> tuple[Row, bytes | None]:
    fetched = await fetch(session, pair.url, options, seed=pair.uid)
    if fetched.body is None:
        return _row(pair, fetched, None, None), None
    loop = asyncio.get_running_loop()
    image = await loop.run_in_executor(decoders, process_image, fetched.body, options)
    digest = hashlib.sha256(fetched.body).hexdigest()
    return _row(pair, fetched, image, digest), image.jpeg if isinstance(image, ProcessedImage) else None


def _row(pair: Pair, fetched: Fetched, image: ProcessedImage | ImageFailure | None, sha256: str | None) -> Row:
    error_class, message = fetched.error_class, fetched.error_message
    if isinstance(image, ImageFailure):
        error_class, message = image.error_class, image.message
    stored = image if isinstance(image, ProcessedImage) else None
    return {
        "uid": pair.uid,
        "caption": pair.caption,
        "url": pair.url,
        "key": pair.key,
        "status": _status(error_class).value,
        "error_message": message,
        "width": stored.width if stored else None,
        "height": stored.height if stored else None,
        "original_width": stored.original_width if stored else None,
        "original_height": stored.original_height if stored else None,
        "exif": stored.exif if stored else None,
        "sha256": sha256,
        "final_url": fetched.final_url,
        "http_status": fetched.http_status,
        "error_class": error_class.value if error_class else None,
        "attempts": fetched.attempts,
        "fetched_at": fetched.fetched_at,
        "content_type": fetched.content_type,
        "byte_size": len(fetched.body) if fetched.body is not None else None,
        "phash": stored.phash if stored else None,
    }


def _status(error_class: ErrorClass | None) -> Status:
    return error_class.status if error_class else Status.SUCCESS
