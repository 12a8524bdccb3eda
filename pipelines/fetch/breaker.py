"""Tells a server's failure from the network's: while the network is gone nothing is requested or written off.

A failure that may be the network's is judged by a control: has anything answered that was begun after it? Where
nothing has, what answered before is tried again. If that is there, the failure is the server's own. If it is not,
the network is gone: nobody begins anything until it is back, and what failed meanwhile is done again, uncounted.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Generic, TypeVar

from clipsieve.schemas.errors import NetworkGoneError

Reference = TypeVar("Reference")

_REFERENCES = 4
_MANY_REFERENCES = 3  # that they have all died on one day is the less likely
_MOMENT = 0.5  # seconds in which some other answer will usually come
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
_SOFT_PATIENCE = 60.0


class Evidence(Enum):
    """What came of trying a reference."""

    ANSWER = "answer"
    SILENCE = "silence"  # so it may be dead itself
    NO_NETWORK = "no network"  # this machine cannot send, or its own name servers do not answer


class Breaker(Generic[Reference]):
    """Watches one way in which the network can die. It belongs to one event loop.

    ``what`` says in an error what is missing; ``probe`` tries a reference that answered before; ``patience`` is for
    how many seconds to wait for a network that is gone. Where no more than a few references were known, which
    may all have died, they are believed dead after a minute.
    """

    def __init__(
        self,
        what: str,
        probe: Callable[[Reference], Awaitable[Evidence]],
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._probe = probe
        self._patience = patience
        self._clock = clock
        self._known: OrderedDict[Reference, None] = OrderedDict()
        self._alive_at = float("-inf")
        """When the last exchange that ended in an answer was begun."""
        self._back_at = float("-inf")
        self._believed_dead = False
        self._is_gone = False
        self._answer: asyncio.Event = asyncio.Event()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._inquiry: asyncio.Task[None] | None = None

    def answered(self, began: float, reference: Reference) -> None:
        """Something answered an exchange that began at ``began``."""
        self._alive_at = max(self._alive_at, began)
        self._believed_dead = False
        self._known[reference] = None
        self._known.move_to_end(reference)
        if len(self._known) > _REFERENCES:
            self._known.popitem(last=False)
        self._answer.set()

    async def ready(self) -> None:
        """Wait while the network is gone; now and then one is let through to try it. Raises NetworkGoneError."""
        if self._is_gone:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    async def is_alive(self, began: float, failed_at: float, suspect: Reference, is_telling: bool) -> bool:
        """Whether the network lived through what was begun at ``began`` and had failed by ``failed_at``.

        False means that it was gone, and is back: make the attempt again. ``suspect`` is what did not answer;
        ``is_telling``: that is to be looked into even where nothing has answered yet. Raises NetworkGoneError when
        the network stays gone.
        """
        while True:
            if began < self._back_at:
                return False
            if self._alive_at >= failed_at or self._believed_dead:
                return True
            if await self._answers_within(_MOMENT, failed_at):
                continue
            if not self._known and not is_telling:
                return True
            if self._inquiry is None:
                self._inquiry = asyncio.ensure_future(self._inquire(suspect))
                self._inquiry.add_done_callback(self._inquired)
            await asyncio.shield(self._inquiry)

    async def close(self) -> None:
        """End an inquiry that is under way."""
        if self._inquiry is not None:
            self._inquiry.cancel()
            await asyncio.gather(self._inquiry, return_exceptions=True)

    def _inquired(self, task: asyncio.Task[None]) -> None:
        self._inquiry = None
        error = None if task.cancelled() else task.exception()
        self._open(error)

    def _open(self, error: BaseException | None = None) -> None:
        """Let all go on who wait, or fail with ``error``."""
        self._is_gone = False
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    async def _inquire(self, suspect: Reference) -> None:
        """Try what answered before, else ``suspect``, until there is an answer or patience ends."""
        began = self._clock()
        pause = _FIRST_PAUSE
        while True:
            tried_at = self._clock()
            evidence = await (self._try_known() if self._known else self._try_suspect(suspect))
            if evidence is Evidence.ANSWER or self._alive_at >= tried_at:
                self._alive_at = max(self._alive_at, tried_at)
                break
            self._is_gone = True
            waited = self._clock() - began
            if evidence is Evidence.SILENCE and waited >= min(self._patience, _SOFT_PATIENCE):
                self._believed_dead = True
                return
            if waited >= self._patience:
                raise NetworkGoneError(f"{self._what} for {waited:.0f} s; run the same command again when it is back")
            self._let_one_through()
            if await self._answers_within(min(pause, max(0.0, self._patience - waited)), began):
                break
            pause = min(2 * pause, _LONGEST_PAUSE)
        if self._is_gone:
            self._back_at = self._clock()

    async def _try_known(self) -> Evidence:
        """Try the one that was left in peace for longest; if it does not answer, the others. One answer is enough."""
        first, *others = self._known
        self._known.move_to_end(first)
        found = {await self._probe(first)}
        if Evidence.ANSWER not in found:
            found.update(await asyncio.gather(*(self._probe(reference) for reference in others)))
        if Evidence.ANSWER in found:
            return Evidence.ANSWER
        is_proof = Evidence.NO_NETWORK in found or 1 + len(others) >= _MANY_REFERENCES
        return Evidence.NO_NETWORK if is_proof else Evidence.SILENCE

    async def _try_suspect(self, suspect: Reference) -> Evidence:
        """Its silence says nothing of the network, as nothing else has ever answered."""
        found = await self._probe(suspect)
        return Evidence.ANSWER if found is Evidence.SILENCE else found

    def _let_one_through(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _answers_within(self, seconds: float, since: float) -> bool:
        """Whether an exchange begun at ``since`` or later is answered within ``seconds``."""
        end = self._clock() + seconds
        while self._alive_at < since and (left := end - self._clock()) > 0:
            self._answer.clear()
            try:
                await asyncio.wait_for(self._answer.wait(), left)
            except asyncio.TimeoutError:
                break
        return self._alive_at >= since
