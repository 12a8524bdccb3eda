"""Threads: every thread pool of the project is made here.

Reading, decoding and numpy's and torch's kernels release the GIL; only work that does is worth a thread. A count that
more than one place needs is here; one that a single place has a reason for is written there.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["IO_THREADS", "Executor", "Future", "cores", "decoding_threads", "map_ahead", "open_pool"]

T = TypeVar("T")
R = TypeVar("R")

IO_THREADS = 16
"""For reading many small files or ranges, which is waiting: at 50 ms a request of an object store, 320 a second.

xarray-beam's ThreadMap has as many. On a local disk they neither help nor hurt: 0.3 to 0.5 ms a small JSON file, be it
read by 1 thread or by 64 (2 cores at work on other things).
"""
_MOST_DECODING_THREADS = 8


def cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0))


def decoding_threads() -> int:
    """For decoding images next to a model: one per core, at most 8, for the model's own work needs the GIL too."""
    return min(_MOST_DECODING_THREADS, cores())


def map_ahead(
    work: Callable[[T], R],
    items: Iterable[T],
    threads: int = IO_THREADS,
    ahead: int | None = None,
    start: Callable[[], object] | None = None,
) -> Generator[R, None, None]:
    """The results of ``work``, called in ``threads`` threads, in the items' order.

    At most ``ahead`` items, by default twice the threads, are taken from ``items`` and not yet handed on as results,
    so memory holds no more of either. They are taken in the caller's thread. ``start`` is called in each thread before
    its first item. With two threads, four ahead, while the caller waits for item 2:

        items     0   1    | 2   3  | 4   5      | 6 …
                  returned | begun  | queued     | not taken yet

    When an item's work raises, or the generator is closed, items that wait are dropped and those at work are waited
    for: no thread is left.
    """
    begun: deque[Future[R]] = deque()
    most = 2 * threads if ahead is None else ahead
    pool = ThreadPoolExecutor(threads, "map_ahead", initializer=start)
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) >= most:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def open_pool(threads: int, name: str) -> Executor:
    """Threads for calls that come one by one, for as long as their owner lives, who must shut the pool down."""
    return ThreadPoolExecutor(threads, name)
