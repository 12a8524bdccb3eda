"""Permutations without a table: a keyed Feistel network, so that the place of any one element costs no memory.

A network permutes the numbers of so many bits. Of ``length`` numbers, which fill at least half of them, one that leaves
the range is permuted again until it is back in it (cycle walking), which keeps the whole a permutation:

    round     high ^= F(low)  |  low ^= F(high)  |  …      each can be undone, whatever F is
    walk      3 -> 14 (no number of 0 to 9) -> 6           so 3 is taken to 6
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 8
_LEAST_BITS = 6
"""A network of fewer bits has too few round functions to draw from."""
_STEP = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that no two epochs below 2**64 come to the same key."""


def round_keys(*seed: int) -> np.ndarray:
    """uint64[rounds]: the keys of a family of permutations, a function of ``seed``."""
    return np.random.SeedSequence(seed).generate_state(_ROUNDS, np.uint64)


def member_keys(keys: np.ndarray, members: np.ndarray) -> np.ndarray:
    """uint64[rounds, n]: the keys of these ``members``, int64[n], of a family."""
    return _mixed(keys[:, None] + members.astype(np.uint64) * _STEP)


def permuted(places: np.ndarray, length: int, keys: np.ndarray) -> np.ndarray:
    """Where a permutation of ``range(length)`` takes these places; both int64[n].

    ``keys`` are those of one permutation, uint64[rounds, 1], or of one for each place, uint64[rounds, n].
    """
    bits = max(_LEAST_BITS, (length - 1).bit_length())
    values = _network(places.astype(np.uint64), bits, keys)
    outside = np.flatnonzero(values >= length)
    while len(outside):
        of_each = keys if keys.shape[1] == 1 else keys[:, outside]
        values[outside] = walked = _network(values[outside], bits, of_each)
        outside = outside[walked >= length]
    return values.astype(np.int64)


def _network(values: np.ndarray, bits: int, keys: np.ndarray) -> np.ndarray:
    """uint64[n] of so many bits -> uint64[n] of as many."""
    half = np.uint64(bits // 2)
    low_mask = (np.uint64(1) << half) - np.uint64(1)
    high_mask = (np.uint64(1) << (np.uint64(bits) - half)) - np.uint64(1)
    high, low = values >> half, values & low_mask
    for number, key in enumerate(keys):
        if number % 2:
            low ^= _mixed(high + key) & low_mask
        else:
            high ^= _mixed(low + key) & high_mask
    return (high << half) | low


def _mixed(values: np.ndarray) -> np.ndarray:
    """uint64[…] -> uint64[…] in which each bit depends on all (the finalizer of splitmix64); changes ``values``."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
