"""The order of a subset, against plain Python and one sort of everything."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.reshard import order as shuffle_order
from clipsieve.pipelines.reshard.order import copies_of, find_borders, order_keys, shard_of
from clipsieve.pipelines.select.thresholds import hash_of
from clipsieve.schemas.members import as_raw, as_strings

# Zero bytes at either end: numpy's byte strings drop them where they may.
raw_uids = st.lists(
    st.binary(min_size=16, max_size=16) | st.sampled_from([bytes(16), b"\1" + bytes(15)]), min_size=1, max_size=40
)


def as_array(uids: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(uids), np.uint8).reshape(-1, 16)


def keys_by_hand(uids: list[bytes], seed: int) -> list[bytes]:
    """(hash, uid, copy) of each, in order; a copy's hash is that of the uid whose last 8 bytes are xored with its
    number."""
    keys, met = [], Counter[bytes]()
    for uid in uids:
        copy = met[uid]
        met[uid] += 1
        marked = uid[:8] + (int.from_bytes(uid[8:], "big") ^ copy).to_bytes(8, "big")
        keys.append(int(hash_of(as_array([marked]), seed)[0]).to_bytes(8, "big") + uid + copy.to_bytes(4, "big"))
    return sorted(keys)


@settings(max_examples=60, deadline=None)
@given(raw_uids, st.integers(1, 9), st.integers(0, 3), st.integers(1, 7))
def test_borders_are_every_nth_key_of_one_sort(uids: list[bytes], size: int, seed: int, slice_members: int) -> None:
    members = np.sort(as_strings(as_array(uids)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shuffle_order, "SLICE_MEMBERS", slice_members)
        borders = find_borders(members, seed, size)
    expected = keys_by_hand([row.tobytes() for row in as_raw(members)], seed)
    assert [row.tobytes() for row in as_raw(borders)] == expected[size::size]
    in_order = as_strings(np.frombuffer(b"".join(expected), np.uint8).reshape(-1, 28))
    assert shard_of(in_order, borders).tolist() == [rank // size for rank in range(len(expected))]


def test_borders_of_many_members_in_many_bins() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (20_000, 16), np.uint8)
    raw = np.concatenate([raw, raw[:500], raw[:200]])
    members = np.sort(as_strings(raw))
    _, times = np.unique(members, return_counts=True)
    index, copies = copies_of(times)
    keys = np.sort(order_keys(as_raw(np.unique(members)[index]), copies, 7))
    assert np.array_equal(find_borders(members, 7, 300), keys[300::300])


def test_copies_are_numbered_and_lie_apart() -> None:
    index, copies = copies_of(np.array([0, 3, 1, 0, 2]))
    assert (index.tolist(), copies.tolist()) == ([1, 1, 1, 2, 4, 4], [0, 1, 2, 0, 0, 1])
    raw = np.random.default_rng(0).integers(0, 256, (1000, 16), np.uint8)
    first, second = (np.argsort(np.argsort(order_keys(raw, np.full(1000, copy), 0))) for copy in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15  # 1000 independent ranks: five standard deviations
