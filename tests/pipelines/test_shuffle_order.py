"""The order of a subset, against plain Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from pipelines import shuffle_order
from pipelines.thresholds import hash_of
from schemas.members import as_raw, as_strings, write_members
from schemas.uid import uid_strings

# Zero bytes at either end: numpy's byte strings drop them where they may.
raw_uids = st.lists(st.binary(min_size=16, max_size=16) | st.sampled_from([bytes(16), b"\1" + bytes(15)]), unique=True)


def as_array(uids: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(uids), np.uint8).reshape(-1, 16)


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
    borders = sorted(key for item in in_order.items() for key in shuffle_order.first_keys(item, counts, shard_size))

    by_hand = np.array(uid_strings(as_raw(members)))[np.argsort(hash_of(as_raw(members), 5))].tolist()
    shards = shuffle_order.shard_of(shuffle_order.order_keys(as_raw(members), 5), borders)
    expected = {uid: place // shard_size for place, uid in enumerate(by_hand)}
    assert shards.tolist() == [expected[uid] for uid in uid_strings(as_raw(members))]
