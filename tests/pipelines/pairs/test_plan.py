from __future__ import annotations

import math
import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.pairs.plan import Slice, naming, plan_shards

row_groups = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=12).map(
    lambda groups: [(f"{file}.parquet", rows) for file, rows in sorted(groups)]
)


def rows_of(slices):
    return [(piece.file, row) for piece in slices for row in range(piece.start, piece.start + piece.count)]


@given(row_groups, st.integers(1, 50))
def test_every_row_is_in_one_shard_in_input_order(groups, shard_size):
    totals: dict[str, int] = {}
    for file, rows in groups:
        totals[file] = totals.get(file, 0) + rows
    expected = [(file, row) for file, rows in totals.items() for row in range(rows)]
    plans = plan_shards(groups, shard_size)
    assert [row for plan in plans for row in rows_of(plan.slices)] == expected
    assert [plan.number for plan in plans] == list(range(len(plans)))
    assert all(plan.rows == shard_size for plan in plans[:-1])
    assert all(0 < plan.rows <= shard_size for plan in plans[-1:])


@given(st.integers(1, 200), st.integers(1, 50), st.data())
def test_the_plan_does_not_depend_on_row_groups(rows, shard_size, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, rows), max_size=5)) | {0, rows})
    groups = [("a", end - start) for start, end in pairwise(cuts)]
    assert plan_shards(groups, shard_size) == plan_shards([("a", rows)], shard_size)


def test_a_shard_may_span_files():
    plans = plan_shards([("a", 2), ("a", 1), ("b", 4)], 5)
    assert [plan.slices for plan in plans] == [(Slice("a", 0, 3), Slice("b", 0, 2)), (Slice("b", 2, 2),)]


@pytest.fixture(scope="module")
def compute_key():
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else the import asks the network for news
    from img2dataset.downloader import compute_key

    return compute_key


@given(st.integers(1, 100_000), st.integers(1, 20_000), st.data())
def test_keys_are_those_of_img2dataset(compute_key, shards, shard_size, data):
    number = data.draw(st.integers(0, shards - 1))
    row = data.draw(st.integers(0, shard_size - 1))
    expected = compute_key(row, number, math.ceil(math.log10(shard_size)), 5)
    assert naming(shards, shard_size).key(number, row) == expected


def test_more_than_100_000_shards_still_sort_by_name():
    names = naming(1_280_000, 10_000)
    assert names.shard(7) == "0000007"
    assert names.shard(1_279_999) == "1279999"
    assert len({len(names.key(number, 9_999)) for number in (0, 99_999, 1_279_999)}) == 1
