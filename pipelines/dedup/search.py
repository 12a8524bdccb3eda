"""The first near row within a group of rows, found without ever holding the pairs of a large group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

ROW_BLOCK = 4096
FIRST_COLUMNS = 16
MOST_COLUMNS = 1024

Near = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""rows[A], columns[B] -> positions (i, j) of the pairs that are near, j ascending for each i."""

FirstSame = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""rows[K], ascending, candidates of each [K], ascending -> bool[K]: of each row its first that truly is the same."""


def search_group(members: np.ndarray, near: Near, asking: np.ndarray, alive: np.ndarray, best: np.ndarray) -> None:
    """Lower ``best`` int64[N] to the first row of ``members`` that is alive, near and before each asking member.

    ``members`` are rows, ascending; ``asking`` and ``alive`` are bool[N]. A row that has found one asks no further, and
    the columns come in blocks that begin small: copies of one picture, however many, find the first of them at once.
    """
    columns = members[alive[members]]
    rows = members[asking[members]]
    for start in range(0, len(rows), ROW_BLOCK):
        waiting = rows[start : start + ROW_BLOCK]
        for block in _blocks(columns[columns < waiting[-1]]):
            waiting = waiting[(waiting > block[0]) & (best[waiting] > block[0])]
            if not len(waiting):
                break
            one, other = near(waiting, block)
            is_before = block[other] < waiting[one]
            np.minimum.at(best, waiting[one[is_before]], block[other[is_before]])


def search_clusters(
    clusters: Iterable[np.ndarray], near_of: Callable[[np.ndarray], Near], asking: np.ndarray, alive: np.ndarray
) -> np.ndarray:
    """Of each row of ``asking`` int64[A] the first near one that is alive and shares a cluster; N where there is none.

    ``near_of`` tells of a cluster's members, read as they are needed, which of them are near.
    """
    rows = len(alive)
    best, asks = np.full(rows, rows), np.zeros(rows, bool)
    asks[asking] = True
    for cluster in clusters:
        if asks[cluster].any():
            members = cluster[asks[cluster] | alive[cluster]]
            search_group(members, near_of(members), asks, alive, best)
    return best[asking]


def _blocks(columns: np.ndarray) -> Iterator[np.ndarray]:
    start, size = 0, FIRST_COLUMNS
    while start < len(columns):
        yield columns[start : start + size]
        start, size = start + size, min(2 * size, MOST_COLUMNS)


def groups_of(values: np.ndarray) -> Iterator[np.ndarray]:
    """values[N] -> for each value that appears twice or more the positions where it stands, ascending."""
    order = np.argsort(values, kind="stable")
    borders = np.flatnonzero(np.diff(values[order])) + 1
    edges = np.concatenate([[0], borders, [len(order)]])
    for group in np.flatnonzero(np.diff(edges) > 1):
        yield order[edges[group] : edges[group + 1]]
