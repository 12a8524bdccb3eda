"""Work on many items at a time whose results are wanted in the items' order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def in_order(
    items: AsyncGenerator[Item, None], work: Callable[[Item], Awaitable[Result]], is_full: Callable[[int], bool]
) -> AsyncGenerator[Result, None]:
    """The results of ``work`` in the items' order.

    ``is_full``, given how many are begun and not yet handed on, says whether the next item must wait for the
    oldest of them. It waits for none but those, so the oldest always gets on. When an item's work raises, or
    the caller stops, what is begun is cancelled.
    """
    begun: deque[asyncio.Future[Result]] = deque()
    try:
        async with aclosing(items):
            async for item in items:
                begun.append(asyncio.ensure_future(work(item)))
                while begun and (begun[0].done() or is_full(len(begun))):
                    yield await begun.popleft()
        while begun:
            yield await begun.popleft()
    finally:
        for future in begun:
            future.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
