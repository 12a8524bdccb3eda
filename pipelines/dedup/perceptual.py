"""Pictures whose 64-bit perceptual hashes differ in few bits, found by bands.

Of two hashes that differ in at most t bits, cut into t + 1 bands, at least one band is the same in both (pigeonhole).
So only rows that share a band are compared, on all 64 bits: none is missed.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from clipsieve.pipelines.dedup.search import FirstSame, groups_of, search_group

HASH_BITS = 64
_REGULAR_BITS = (31, 33)


def is_regular(hashes: np.ndarray) -> np.ndarray:
    """uint64[N] -> bool[N]: False for a hash that says little.

    A hash has a bit for each frequency above the median of 63, so about 32 of 64. It has fewer where many frequencies
    tie: of one colour all are 0 and all such pictures have one hash, and in a symmetric drawing every second is 0 but
    for noise, which the next compression changes.
    """
    ones = np.bitwise_count(hashes)
    return np.asarray((ones >= _REGULAR_BITS[0]) & (ones <= _REGULAR_BITS[1]))


def bands(hashes: np.ndarray, max_hamming: int) -> list[np.ndarray]:
    """uint64[N] -> t + 1 times uint64[N]: the bits of each band, of as equal width as can be."""
    edges = [HASH_BITS * band // (max_hamming + 1) for band in range(max_hamming + 2)]
    widths = [end - start for start, end in pairwise(edges)]
    masks = [np.uint64(2**width - 1) for width in widths]
    return [hashes >> np.uint64(start) & mask for start, mask in zip(edges, masks, strict=False)]


class NearHashes:
    """Near are two rows whose hashes are both regular and differ in at most ``max_hamming`` bits.

    ``hashes`` is uint64[N], ``has_hash`` bool[N]; ``first_same`` must agree.
    """

    def __init__(self, hashes: np.ndarray, has_hash: np.ndarray, max_hamming: int, first_same: FirstSame) -> None:
        self._rows = np.flatnonzero(has_hash & is_regular(hashes))
        self._hashes = hashes
        self._max_hamming = max_hamming
        self._first_same = first_same

    def best_near(self, asking: np.ndarray, alive: np.ndarray) -> np.ndarray:
        rows = len(alive)
        best, asks = np.full(rows, rows), np.zeros(rows, bool)
        asks[asking] = True
        taking_part = self._rows[asks[self._rows] | alive[self._rows]]
        for band in bands(self._hashes[taking_part], self._max_hamming):
            for group in groups_of(band):
                search_group(taking_part[group], self._near, asks, alive, best)
        return best[asking]

    def _near(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distance = np.bitwise_count(self._hashes[rows][:, None] ^ self._hashes[columns])
        one, other = np.nonzero((distance <= self._max_hamming) & (columns < rows[:, None]))
        is_near = self._first_same(rows[one], columns[other])
        return one[is_near], other[is_near]
