"""The seeded order of a subset, cut into output shards.

A member's place is its rank by the order key, (hash of seed, uid and copy; uid; copy), 28 bytes; a uid that stands
three times in the subset has copies 0, 1 and 2, which lie apart. Ranks are never computed: a shard is known by its
first key. Two passes over the members find those keys, holding no more than a slice, the histogram and the few keys
that share a bin with a border: under 1 GB at a billion members.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clipsieve.pipelines.select.thresholds import hash_of
from clipsieve.schemas.members import as_raw, as_strings

SLICE_MEMBERS = 1 << 20
_MOST_BIN_BITS = 24
_MEMBERS_PER_BIN_BITS = 6


def order_keys(raw: np.ndarray, copies: np.ndarray, seed: int) -> np.ndarray:
    """Uids uint8[N, 16] and the numbers of their copies [N] -> bytes[N] of 28 that sort in the seeded order."""
    halves = np.ascontiguousarray(raw).view(">u8").astype(np.uint64)
    halves[:, 1] ^= copies.astype(np.uint64)
    hashes = hash_of(halves.astype(">u8").view(np.uint8), seed).astype(">u8").view(np.uint8).reshape(len(raw), 8)
    numbers = copies.astype(">u4").view(np.uint8).reshape(len(raw), 4)
    return as_strings(np.concatenate([hashes, raw, numbers], axis=1))


def shard_of(keys: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """int64[N]: the output shard of each order key."""
    return np.searchsorted(borders, keys, side="right")


def find_borders(members: np.ndarray, seed: int, shard_size: int) -> np.ndarray:
    """Members, bytes[N] of 16, ascending -> the first key of each output shard but shard 0, ascending.

    Shard k has the members of rank [k * shard_size, (k + 1) * shard_size) by order key. ``members`` may be mapped
    into memory.
    """
    bits = min(_MOST_BIN_BITS, max(1, len(members).bit_length() - _MEMBERS_PER_BIN_BITS))
    histogram = np.zeros(1 << bits, np.int64)
    for keys in _slices_of_keys(members, seed):
        np.add.at(histogram, _bin_of(keys, bits), 1)
    ranks = np.arange(shard_size, len(members), shard_size)
    ends = np.cumsum(histogram)
    bins = np.searchsorted(ends, ranks, side="right")
    has_border = np.zeros(1 << bits, bool)
    has_border[bins] = True
    near = [keys[has_border[_bin_of(keys, bits)]] for keys in _slices_of_keys(members, seed)]
    candidates = np.sort(np.concatenate([np.zeros(0, "S28"), *near]))
    # Of all keys only those that share a bin with a border are here; the others before it have left its rank.
    others = np.cumsum(np.where(has_border, 0, histogram))
    return candidates[ranks - others[bins]]


def copies_of(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often each of N stands, int64[N] -> for all M that there are then: which of the N, and which copy of it."""
    index = np.repeat(np.arange(len(times)), times)
    return index, np.arange(len(index)) - np.repeat(np.cumsum(times) - times, times)


def _slices_of_keys(members: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    for start in range(0, len(members), SLICE_MEMBERS):
        part = members[start : start + SLICE_MEMBERS]
        firsts = np.searchsorted(part, part, "left")
        before = start - np.searchsorted(members, part[0], "left")  # copies of the first one, in the slices before
        copies = np.arange(len(part)) - firsts + np.where(firsts == 0, before, 0)
        yield order_keys(as_raw(part), copies, seed)


def _bin_of(keys: np.ndarray, bits: int) -> np.ndarray:
    leading = as_raw(keys)[:, :4].copy().view(">u4").reshape(-1).astype(np.int64)
    return leading >> (32 - bits)
