"""Turns at each host: so many requests at a time, so many a second, none while it asks to be left alone."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from yarl import URL

from clipsieve.pipelines.fetch.failure import FetchError
from clipsieve.schemas.outcomes import ErrorClass

_LONGEST_PAUSE = 3600.0
_SWEEP = 1024  # entries at which idle ones are first looked for

Host = tuple[str, int]
"""A host as its URLs name it, and the port."""


def host_of(url: URL) -> Host:
    """The host of a URL that `parse_url` let pass."""
    return url.raw_host or "", url.port or 0


@dataclass
class _Turns:
    active: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    next_at: float = 0.0
    """When the next request may begin, by the rate."""
    paused_until: float = 0.0
    paused_for: float = 0.0
    """Seconds of pauses since the host last answered without asking for one."""
    status: int | None = None
    """The HTTP status that came with the pause."""


class Hosts:
    """Keeps to each host's limits; requests of one host begin in the order in which they came.

    Requests wait through the pauses that a host asks for until these add up to more than ``max_pause`` seconds
    since its last good answer. From then on, while it is paused, they fail at once, to be tried in a later pass:
    a million rows of a host that has shut us out neither burden it nor hold up the job. Hosts that nobody is
    waiting for are forgotten when their pauses and intervals are over. It belongs to one event loop.
    """

    def __init__(
        self, concurrency: int, rate: float | None, max_pause: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._concurrency = concurrency
        self._interval = 1.0 / rate if rate else 0.0
        self._max_pause = max_pause
        self._clock = clock
        self._hosts: dict[Host, _Turns] = {}
        self._sweep_at = _SWEEP

    async def turn(self, host: Host) -> None:
        """Wait for a turn at ``host``; `release` ends it. Raises FetchError for a host that is to be left alone."""
        turns = self._hosts.get(host)
        if turns is None:
            self._sweep()
            turns = self._hosts[host] = _Turns()
        if turns.active < self._concurrency:
            turns.active += 1
        else:
            await self._queue(turns)
        if turns.paused_until or self._interval:
            try:
                await self._wait(turns)
            except BaseException:
                self.release(host)
                raise

    def release(self, host: Host) -> None:
        """End a turn."""
        turns = self._hosts[host]
        self._hand_on(turns)
        if not turns.active and self._is_over(turns):
            del self._hosts[host]

    def pause(self, host: Host, seconds: float, status: int) -> None:
        """Begin no request of ``host`` for ``seconds``, or an hour; to be called within a turn at it."""
        turns = self._hosts[host]
        until = self._clock() + min(seconds, _LONGEST_PAUSE)
        if until > turns.paused_until:
            turns.paused_for += until - max(turns.paused_until, self._clock())
            turns.paused_until, turns.status = until, status

    def resume(self, host: Host) -> None:
        """The host answered, within a turn at it, and asked for no pause."""
        self._hosts[host].paused_for = 0.0

    def __len__(self) -> int:
        """How many hosts are remembered."""
        return len(self._hosts)

    async def _queue(self, turns: _Turns) -> None:
        waiter = asyncio.get_running_loop().create_future()
        turns.waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._hand_on(turns)  # it has got its turn, and does not take it
            raise

    @staticmethod
    def _hand_on(turns: _Turns) -> None:
        """Give a turn that ends to the first who still waits; it counts as active all the while."""
        while turns.waiting:
            waiter = turns.waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        turns.active -= 1

    async def _wait(self, turns: _Turns) -> None:
        await self._sit_out_pause(turns)
        if self._interval:
            begin = max(self._clock(), turns.next_at)
            turns.next_at = begin + self._interval
            await asyncio.sleep(begin - self._clock())
            await self._sit_out_pause(turns)

    async def _sit_out_pause(self, turns: _Turns) -> None:
        while (left := turns.paused_until - self._clock()) > 0:
            if max(left, turns.paused_for) > self._max_pause:
                raise FetchError(
                    ErrorClass.HTTP_ERROR,
                    f"the host asks to be left alone: HTTP status {turns.status} with Retry-After",
                    turns.status,
                    is_final=True,
                )
            await asyncio.sleep(left)

    def _is_over(self, turns: _Turns) -> bool:
        # A host that keeps asking for pauses is known by them as long again as the last was.
        return max(turns.paused_until + min(turns.paused_for, self._max_pause), turns.next_at) <= self._clock()

    def _sweep(self) -> None:
        """Forget hosts whose pauses have run out; each time there are twice as many as were left the last time."""
        if len(self._hosts) < self._sweep_at:
            return
        idle = [host for host, turns in self._hosts.items() if not turns.active]
        for host in idle:
            if self._is_over(self._hosts[host]):
                del self._hosts[host]
        self._sweep_at = max(_SWEEP, 2 * len(self._hosts))
