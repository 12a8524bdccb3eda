from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.download.in_order import in_order


async def each(items):
    for item in items:
        yield item


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 6))
def test_results_come_in_the_items_order_and_no_more_are_begun_than_may_be(turns, window):
    begun, handed_on = 0, 0
    ahead = []

    async def work(item):
        nonlocal begun
        begun += 1
        ahead.append(begun - handed_on)
        for _ in range(item[1]):
            await asyncio.sleep(0)
        return item

    async def run():
        nonlocal handed_on
        results = []
        async for result in in_order(each(list(enumerate(turns))), work, lambda waiting: waiting >= window):
            handed_on += 1
            results.append(result)
        return results

    assert asyncio.run(run()) == list(enumerate(turns))
    assert max(ahead, default=0) <= window


def test_where_there_is_never_room_items_are_done_one_by_one():
    async def work(item):
        return item

    async def run():
        return [item async for item in in_order(each(range(5)), work, lambda _: True)]

    assert asyncio.run(run()) == list(range(5))


def test_an_error_ends_the_others_and_the_items():
    ended = []

    async def work(item):
        if item == 1:
            raise RuntimeError("a bug, not a bad row")
        try:
            await asyncio.Event().wait() if item > 1 else None
        finally:
            ended.append(item)

    async def items():
        try:
            for item in range(4):
                yield item
        finally:
            ended.append("items")

    async def run():
        async for _ in in_order(items(), work, lambda waiting: waiting >= 4):
            pass

    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(run())
    assert set(ended) == {0, 2, 3, "items"}
