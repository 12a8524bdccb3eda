"""Groups of images that look alike: by hand, and against a comparison of every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.builtin.near_duplicates import MAX_HAMMING, MAX_RMS, group_near_duplicates, near_duplicates

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
        # 0 and 2 are too far apart, though each is near 1: no chains.
        ([0, bits(8), bits(16)], [SAME] * 3, [{0, 1}, {2}]),
        ([bits(8), 0, bits(16)], [SAME] * 3, [{0, 1, 2}]),
        ([0, bits(64), 0], [SAME] * 3, [{0, 2}, {1}]),
        ([5], [SAME], [{0}]),
    ],
)
def test_groups_by_hand(hashes: list[int], thumbnails: list[np.ndarray], groups: list[set[int]]) -> None:
    near = near_duplicates(np.array(hashes, np.uint64), np.stack(thumbnails))
    assert grouped(group_near_duplicates(near)) == groups


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 40), block=st.integers(1, 50))
def test_pairs_are_those_of_brute_force_and_groups_hang_on_their_first(seed: int, images: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 2**64, 4, np.uint64)
    hashes = bases[rng.integers(0, 4, images)]
    for _ in range(8):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, images).astype(np.uint64))
    thumbnails = (rng.integers(0, 3, (images, 1)) * 0.07 + rng.random((images, 6)) * 0.02).astype(np.float32)
    near = near_duplicates(hashes, thumbnails, block)
    assert near.toarray().tolist() == brute_force(hashes, thumbnails)
    first = group_near_duplicates(near)
    assert near.toarray()[np.arange(images), first].all(), "every member is near the first of its group"
    leaders = np.unique(first)
    assert near.toarray()[np.ix_(leaders, leaders)].sum() == len(leaders), "no two groups begin with near-duplicates"


def grouped(labels: np.ndarray) -> list[set[int]]:
    """The groups' members, those with the smallest first."""
    groups = [set(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)]
    return sorted(groups, key=min)


def brute_force(hashes: np.ndarray, thumbnails: np.ndarray) -> list[list[bool]]:
    pixels = thumbnails.astype(float)
    return [
        [
            (int(hashes[one]) ^ int(hashes[other])).bit_count() <= MAX_HAMMING
            and bool(np.sqrt(np.mean((pixels[one] - pixels[other]) ** 2)) <= MAX_RMS)
            for other in range(len(hashes))
        ]
        for one in range(len(hashes))
    ]
