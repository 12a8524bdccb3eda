"""Groups of images that look alike: by hand, and against a comparison of every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.builtin.near_duplicates import MAX_HAMMING, MAX_RMS, near_duplicate_groups

SAME = np.zeros(8, np.float32)


def bits(count: int) -> int:
    return (1 << count) - 1


@pytest.mark.parametrize(
    ("hashes", "thumbnails", "groups"),
    [
        ([0, 0], [SAME, SAME], [{0, 1}]),
        ([0, bits(MAX_HAMMING)], [SAME, SAME], [{0, 1}]),
        ([0, bits(MAX_HAMMING + 1)], [SAME, SAME], [{0}, {1}]),
        ([0, 0], [SAME, SAME + 0.099], [{0, 1}]),
        ([0, 0], [SAME, SAME + 0.101], [{0}, {1}]),
        # 0 and 2 are too far apart, but each is near 1.
        ([0, bits(8), bits(16)], [SAME] * 3, [{0, 1, 2}]),
        ([0, bits(64), 0], [SAME] * 3, [{0, 2}, {1}]),
        ([5], [SAME], [{0}]),
    ],
)
def test_groups_by_hand(hashes: list[int], thumbnails: list[np.ndarray], groups: list[set[int]]) -> None:
    assert grouped(near_duplicate_groups(np.array(hashes, np.uint64), np.stack(thumbnails))) == groups


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 40), block=st.integers(1, 50))
def test_groups_are_those_of_every_pair_compared(seed: int, images: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 2**64, 4, np.uint64)
    hashes = bases[rng.integers(0, 4, images)]
    for _ in range(8):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, images).astype(np.uint64))
    thumbnails = (rng.integers(0, 3, (images, 1)) * 0.07 + rng.random((images, 6)) * 0.02).astype(np.float32)
    assert grouped(near_duplicate_groups(hashes, thumbnails, block)) == brute_force(hashes, thumbnails)


def grouped(labels: np.ndarray) -> list[set[int]]:
    """The groups' members, those with the smallest first."""
    groups = [set(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)]
    return sorted(groups, key=min)


def brute_force(hashes: np.ndarray, thumbnails: np.ndarray) -> list[set[int]]:
    groups: list[set[int]] = []
    for one in range(len(hashes)):
        near = {
            other
            for other in range(one)
            if (int(hashes[one]) ^ int(hashes[other])).bit_count() <= MAX_HAMMING
            and np.sqrt(np.mean((thumbnails[one].astype(float) - thumbnails[other]) ** 2)) <= MAX_RMS
        }
        joined = [group for group in groups if group & near]
        groups = [group for group in groups if not group & near] + [{one}.union(*joined)]
    return sorted(groups, key=min)
