"""Subset files and the order of a subset, against plain Python."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import shuffle_order
from pipelines.members import as_raw, as_strings, find, read_members, write_members
from schemas.errors import InputError
from schemas.uid import UID_U64_PAIR, uid_strings

# Zero bytes at either end: numpy's byte strings drop them where they may.
raw_uids = st.lists(
    st.binary(min_size=16, max_size=16) | st.sampled_from([bytes(16), b"\1" + bytes(15)]), unique=True
)


def as_array(uids: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(uids), np.uint8).reshape(-1, 16)


@given(raw_uids, raw_uids)
def test_find_is_set_membership(members: list[bytes], asked: list[bytes]) -> None:
    found = find(as_strings(as_array(sorted(members))), as_array(asked))
    assert found.tolist() == [uid in set(members) for uid in asked]


@given(raw_uids)
def test_strings_and_raw_are_inverse_and_sort_alike(uids: list[bytes]) -> None:
    strings = as_strings(as_array(uids))
    assert [row.tobytes() for row in as_raw(strings)] == uids
    assert [row.tobytes() for row in as_raw(np.sort(strings))] == sorted(uids)


@settings(max_examples=30)
@given(raw_uids, st.booleans())
def test_an_npy_is_read_with_and_without_header(tmp_path_factory, uids: list[bytes], header: bool) -> None:
    path = tmp_path_factory.mktemp("subset") / "subset.npy"
    pairs = np.array(
        [(int.from_bytes(u[:8], "big"), int.from_bytes(u[8:], "big")) for u in uids], UID_U64_PAIR
    )
    if header:
        np.save(path, pairs)
    else:
        pairs.tofile(path)
    assert [row.tobytes() for row in as_raw(read_members(str(path)))] == sorted(uids)


@pytest.mark.parametrize("array", [np.zeros(4), np.zeros((2, 2), UID_U64_PAIR), np.zeros(3, "u8,u4")])
def test_another_npy_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InputError, match=r"x\.npy: not a subset: it holds"):
        read_members(str(tmp_path / "x.npy"))


@pytest.mark.parametrize("shard_size", [1, 3, 100])
def test_borders_cut_the_seeded_order_into_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_size: int
) -> None:
    """Several slices and buckets, by hand: the same borders as one sort of everything."""
    raw = np.random.default_rng(0).integers(0, 256, (50, 16), np.uint8)
    members = np.sort(as_strings(raw))
    write_members(members, str(tmp_path / "members.npy"))
    monkeypatch.setattr(shuffle_order, "SLICE_MEMBERS", 7)
    buckets: dict[int, list[np.ndarray]] = {}
    for piece in shuffle_order.slices_of(50):
        for bucket, keys in shuffle_order.keys_of_slice(piece, str(tmp_path / "members.npy"), 5, 4):
            buckets.setdefault(bucket, []).append(keys)
    in_order = {bucket: np.sort(np.concatenate(parts)) for bucket, parts in buckets.items()}
    counts = {bucket: len(keys) for bucket, keys in in_order.items()}
    assert len(counts) == 4 and sum(counts.values()) == 50
    borders = sorted(
        key for item in in_order.items() for key in shuffle_order.first_keys(item, counts, shard_size)
    )

    by_hand = sorted(
        uid_strings(as_raw(members)), key=lambda uid: hashlib.sha256(f"5:{uid}".encode()).digest()[:8]
    )
    shards = shuffle_order.shard_of(shuffle_order.order_keys(as_raw(members), 5), borders)
    expected = {uid: place // shard_size for place, uid in enumerate(by_hand)}
    assert shards.tolist() == [expected[uid] for uid in uid_strings(as_raw(members))]
