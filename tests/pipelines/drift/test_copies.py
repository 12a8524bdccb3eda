"""Which pairs show one image, held against a look at every pair of rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.dedup.perceptual import is_regular
from clipsieve.pipelines.drift.copies import distinct_urls, groups_by_look, groups_by_value, share_in_group

GROUPS = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3), st.booleans(), st.booleans()), max_size=12)
REGULAR = 0x5A5A5A5A5A5A5A5A
FLIPS = st.lists(st.integers(0, 63), max_size=6)


@given(GROUPS)
def test_counts_and_shares_are_those_of_a_look_at_every_row(rows: list[tuple[int, int, bool, bool]]) -> None:
    groups = np.array([row[0] for row in rows], np.int64)
    urls = np.array([row[1] for row in rows], np.uint64)
    counted, holds = (np.array([row[place] for row in rows], bool) for place in (2, 3))
    own = [[other for other in rows if other[0] == row[0] and row[0] >= 0] for row in rows]
    assert distinct_urls(groups, urls).tolist() == [len({other[1] for other in each}) for each in own]
    expected = []
    for each in own:
        taken = [other[3] for other in each if other[2]]
        expected.append(sum(taken) / len(taken) if taken else 0)
    assert share_in_group(groups, counted, holds).tolist() == expected


@given(st.lists(st.one_of(st.integers(0, 5), st.none()), max_size=10))
def test_rows_of_one_value_are_of_one_group(values: list[int | None]) -> None:
    has_value = np.array([value is not None for value in values], bool)
    groups = groups_by_value(np.array([value or 0 for value in values], np.uint64), has_value)
    for row, value in enumerate(values):
        assert (groups[row] == -1) == (value is None)
        assert value is None or (groups == groups[row]).tolist() == [value == each for each in values]


@given(st.lists(st.tuples(st.sampled_from([REGULAR, REGULAR << 1, 0]), FLIPS), max_size=14), st.integers(0, 6))
def test_a_hash_goes_to_the_nearest_one_that_is_shared(drawn: list[tuple[int, list[int]]], most: int) -> None:
    values = [(value ^ sum(1 << bit for bit in set(flips))) & (2**64 - 1) for value, flips in drawn]
    hashes = np.array(values, np.uint64)
    urls = np.arange(len(hashes), dtype=np.uint64)
    regular = is_regular(hashes) if len(hashes) else np.zeros(0, bool)
    shared = sorted({v for v, is_good in zip(values, regular, strict=True) if is_good and values.count(v) >= 2})
    expected = []
    for value, is_good in zip(values, regular, strict=True):
        distance = [(value ^ each).bit_count() for each in shared]
        near = is_good and distance and min(distance) <= most
        expected.append(distance.index(min(distance)) if near else -1)
    assert groups_by_look(hashes, urls, 2, most).tolist() == expected


def test_one_url_under_many_captions_is_one() -> None:
    hashes, urls = np.full(4, REGULAR, np.uint64), np.array([1, 1, 1, 2], np.uint64)
    assert groups_by_look(hashes, urls, 3, 4).tolist() == [-1] * 4
    assert groups_by_look(hashes, urls, 2, 4).tolist() == [0] * 4
