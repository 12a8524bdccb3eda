"""Calls that an event loop leaves to threads, their results handed back several at a time.

One at a time, the loop's thread would run between any two images, on caches that the last one has filled and with a
GIL that the next one asks for: on saturated cores its work then takes twice the time, and an image's 8% more.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from clipsieve.schemas.threads import open_pool

HELD_SECONDS = 0.08
"""After which results wait for no further call, while there are calls to make: a thread makes some 30 images in it."""

Result = TypeVar("Result")


@dataclass
class _Call:
    make: Callable[[], Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Decoders:
    """Up to ``threads`` threads that make the calls of one event loop, in the order in which they come."""

    def __init__(self, threads: int) -> None:
        self._pool = open_pool(threads, "decode")
        self._threads = threads
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._busy = 0

    async def run(self, make: Callable[[], Result]) -> Result:
        """What ``make`` returns, or raises, in one of the threads; when this is cancelled before it begins, it is not
        called. Raises RuntimeError once this is closed and no thread is at work."""
        loop = asyncio.get_running_loop()
        call = _Call(make, loop.create_future())
        with self._lock:
            self._waiting.append(call)
            has_idle = self._busy < self._threads
            self._busy += has_idle
        if has_idle:
            try:
                self._pool.submit(self._work, loop)
            except RuntimeError:  # closed, or the interpreter is ending; a thread that is not there would count as busy
                call.future.cancel()
                with self._lock:
                    self._busy -= 1
                raise
        result: Result = await call.future
        return result

    def close(self) -> None:
        """Take no more calls; those that wait are still made."""
        self._pool.shutdown(wait=False)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make calls until there are none."""
        made: list[_Call] = []
        held_since = time.monotonic()
        while (call := self._next()) is not None:
            _make(call)
            made.append(call)
            if not self._waiting or time.monotonic() - held_since >= HELD_SECONDS:
                _hand_back(made, loop)
                made, held_since = [], time.monotonic()
        if made:  # another thread took the last call that waited
            _hand_back(made, loop)

    def _next(self) -> _Call | None:
        with self._lock:
            while self._waiting:
                call = self._waiting.popleft()
                if not call.future.cancelled():
                    return call
            self._busy -= 1
            return None


def _make(call: _Call) -> None:
    try:
        call.result = call.make()
    except BaseException as error:  # its caller's to handle
        call.error = error


def _hand_back(made: list[_Call], loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_closed():  # nobody waits on a closed one
        loop.call_soon_threadsafe(_settle, made)


def _settle(made: list[_Call]) -> None:
    for call in made:
        if call.future.done():
            continue  # cancelled meanwhile
        if call.error is not None:
            call.future.set_exception(call.error)
        else:
            call.future.set_result(call.result)
