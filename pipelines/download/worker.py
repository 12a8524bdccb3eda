"""What a worker process keeps from shard to shard: an event loop in a thread of its own, and the fetcher on it.

So connections, the resolver's and robots.txt's caches and each host's limits outlive a shard, and all shards at
work in the process share one bound on what is requested at a time.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, TypeVar

import pyarrow as pa
import uvloop

from clipsieve.pipelines.download.decoders import Decoders
from clipsieve.pipelines.fetch.fetcher import Fetcher, open_fetcher
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.threads import Executor, Future, open_pool

_DECODING_THREADS = 2
"""There is a worker process per core, as a rule: more threads would decode no more."""
_SHARD_THREADS = 4
"""Of two bundles, each with up to two shards at work (graph.py)."""
_CLOSE_SECONDS = 5.0
_CHECK_SECONDS = 0.5

Result = TypeVar("Result")


class DownloadWorker:
    """A loop, a fetcher, and threads to decode, read and write in. Got by `process_worker`."""

    def __init__(self, options: DownloadOptions) -> None:
        self.in_flight = asyncio.Semaphore(options.concurrency)
        """Held by a URL from the request until its image is made."""
        self.asking = asyncio.Lock()
        """Held by the shard whose rows are begun next: others go on only with those that they have begun."""
        self.decoders = Decoders(_DECODING_THREADS)
        self.reader = open_pool(1, "read")
        self.shards = open_pool(_SHARD_THREADS, "shard")
        self._loop = uvloop.new_event_loop()
        thread = threading.Thread(target=_run, args=(self._loop,), name="download", daemon=True)
        thread.start()
        self.fetcher: Fetcher = self.submit(_open(options)).result()
        weakref.finalize(self, _close, self._loop, thread, self.fetcher, self.decoders, self.reader, self.shards)

    def submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Begin ``work`` on the loop; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def iterate(self, items: AsyncGenerator[Result, None], check: Callable[[], None]) -> Generator[Result, None, None]:
        """``items``, produced on the loop, one by one in the calling thread; closing it closes them.

        ``check`` is called now and then while an item is waited for; when it raises, the item is cancelled.
        """
        try:
            while True:
                yield self.submit(_next(items, check)).result()
        except StopAsyncIteration:
            return
        finally:
            self.submit(_aclose(items)).result()


_workers: weakref.WeakValueDictionary[DownloadOptions, DownloadWorker] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def process_worker(options: DownloadOptions) -> DownloadWorker:
    """The worker of this process; it is closed when nobody holds it any more."""
    with _lock:
        worker = _workers.get(options)
        if worker is None:
            worker = _workers[options] = DownloadWorker(options)
        return worker


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def return_freed_memory() -> None:
    """Have Arrow give back to the system what it frees, in this process from now on.

    Its own allocator keeps it: over batches of a hundred rows tens of megabytes, growing for some 50,000 rows.
    """
    pa.set_memory_pool(pa.system_memory_pool())


async def _next(items: AsyncGenerator[Result, None], check: Callable[[], None]) -> Result:
    item = asyncio.ensure_future(anext(items))
    try:
        while not (await asyncio.wait([item], timeout=_CHECK_SECONDS))[0]:
            check()
    finally:
        if not item.done():
            item.cancel()
            await asyncio.wait([item])
    return item.result()


async def _aclose(items: AsyncGenerator[Any, None]) -> None:
    await items.aclose()


async def _open(options: DownloadOptions) -> Fetcher:
    return open_fetcher(options)


def _close(
    loop: asyncio.AbstractEventLoop,
    thread: threading.Thread,
    fetcher: Fetcher,
    decoders: Decoders,
    *pools: Executor,
) -> None:
    async def stop() -> None:
        await fetcher.close()
        loop.stop()

    asyncio.run_coroutine_threadsafe(stop(), loop)
    decoders.close()
    for pool in pools:
        pool.shutdown(wait=False)
    # The last to hold the worker may have been a coroutine on its own loop, whose thread cannot wait for itself.
    if threading.current_thread() is not thread:
        thread.join(_CLOSE_SECONDS)
