"""Which pairs show one image: by their bytes, and by perceptual hashes that are near one another."""

from __future__ import annotations

import numpy as np

from clipsieve.pipelines.dedup.perceptual import bands, is_regular


def groups_by_value(values: np.ndarray, has_value: np.ndarray) -> np.ndarray:
    """values[N], bool[N] -> int64[N]: the number of each row's value, counted from 0; -1 where it has none."""
    groups = np.full(len(values), -1)
    groups[has_value] = np.unique(values[has_value], return_inverse=True)[1]
    return groups


def groups_by_look(phash: np.ndarray, urls: np.ndarray, least: int, max_hamming: int) -> np.ndarray:
    """uint64[N] twice -> int64[N]: the number of the hash that each row's is near; -1 where there is none.

    Near are hashes that differ in at most ``max_hamming`` bits; near are looked for those that ``least`` different
    URLs or more share, and a row goes to the nearest, then the smallest. A hash that says little has no group.
    """
    exact = groups_by_value(phash, is_regular(phash))
    shared = np.unique(phash[distinct_urls(exact, urls) >= least])
    best, groups = np.full(len(phash), max_hamming + 1), np.full(len(phash), -1)
    for band, of_shared in zip(bands(phash, max_hamming), bands(shared, max_hamming), strict=True):
        order = np.argsort(band, kind="stable")
        low, high = (np.searchsorted(band[order], of_shared, side) for side in ("left", "right"))
        for number in range(len(shared)):
            rows = order[low[number] : high[number]]
            distance = np.bitwise_count(phash[rows] ^ shared[number]).astype(np.int64)
            is_nearer = (distance < best[rows]) | ((distance == best[rows]) & (number < groups[rows]))
            is_nearer &= is_regular(phash[rows])
            best[rows[is_nearer]], groups[rows[is_nearer]] = distance[is_nearer], number
    return groups


def distinct_urls(groups: np.ndarray, urls: np.ndarray) -> np.ndarray:
    """int64[N], uint64[N] -> int64[N]: how many different URLs the row's group has; 0 for a row in none."""
    rows = np.flatnonzero(groups >= 0)
    order = rows[np.lexsort((urls[rows], groups[rows]))]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (groups[order[1:]] != groups[order[:-1]]) | (urls[order[1:]] != urls[order[:-1]])
    counts = np.zeros(len(groups), np.int64)
    counts[rows] = np.bincount(groups[order], weights=is_new)[groups[rows]] if len(rows) else 0
    return counts


def share_in_group(groups: np.ndarray, is_counted: np.ndarray, holds: np.ndarray) -> np.ndarray:
    """int64[N], bool[N] twice -> float64[N]: of the counted rows of the row's group the share that ``holds``.

    0 for a row in none, and for a group of which no row is counted.
    """
    found = np.zeros(len(groups))
    rows = np.flatnonzero(groups >= 0)
    if len(rows):
        counted = np.bincount(groups[rows], weights=is_counted[rows])
        holding = np.bincount(groups[rows], weights=is_counted[rows] & holds[rows])
        found[rows] = np.divide(holding, counted, out=np.zeros(len(counted)), where=counted > 0)[groups[rows]]
    return found
