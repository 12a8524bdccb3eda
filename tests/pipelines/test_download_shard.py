from __future__ import annotations

import asyncio

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.download_shard import in_order, with_uids
from schemas.uid import uid_of


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 6))
def test_results_come_in_the_items_order_and_no_more_are_begun_than_the_window(turns, window):
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
        async for result in in_order(enumerate(turns), work, window):
            handed_on += 1
            results.append(result)
        return results

    assert asyncio.run(run()) == list(enumerate(turns))
    assert max(ahead, default=0) <= window


def test_an_error_ends_the_others():
    ended = []

    async def work(item):
        if item == 1:
            raise RuntimeError("a bug, not a bad row")
        try:
            await asyncio.Event().wait() if item > 1 else None
        finally:
            ended.append(item)

    async def run():
        async for _ in in_order(range(4), work, 4):
            pass

    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(run())
    assert sorted(ended) == [0, 2, 3]


def test_uids_are_computed_only_where_the_input_has_none():
    rows = pa.table({"url": ["u", ""], "caption": ["c", "d"]})
    assert with_uids(rows)["uid"].to_pylist() == [uid_of("u", "c"), uid_of("", "d")]
    own = rows.append_column("uid", pa.array(["0" * 32, "1" * 32]))
    assert with_uids(own) is own
