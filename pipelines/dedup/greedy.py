"""Which of the rows that look alike is kept: the better ranked one, and no row goes for another that goes itself.

Rows are in rank order, the best first. Taken one after another, a row is kept unless a kept row is near it. So each
removed row is truly near a kept one (no chains), no two kept rows are near, and what is kept depends on the rows
alone. `keep_best` finds this outcome in a few rounds over all rows instead of one row after another:

    a row whose best living better neighbour is          none: it is kept
                                                    a kept one: it goes, as a duplicate of that one
                                              an undecided one: the next round asks again

Memory is a few numbers a row, never the pairs: of 100,000 copies of one picture there are five billion. The rounds
are those of the parallel greedy maximal independent set (Blelloch, Fineman, Shun, SPAA 2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Finder(Protocol):
    """One meaning of "near", over N rows in rank order."""

    def best_near(self, asking: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """For each of ``asking`` int64[A], ascending, the first row before it that is alive and near: int64[A].

        N where there is none. ``alive`` is bool[N]. Being near is symmetric.
        """
        ...


@dataclass(frozen=True)
class Kept:
    """What became of N rows."""

    duplicate_of: np.ndarray
    """int64[N]: the first kept row that is near; -1 for a row that is kept."""
    finder: np.ndarray
    """int64[N]: by which of the finders, the first where several say so; -1 for a row that is kept."""


def keep_best(rows: int, finders: Sequence[Finder], fixed: int = 0) -> Kept:
    """Keep the best of the rows that are near one another; the first ``fixed`` rows are kept whatever they are near."""
    alive = np.ones(rows, bool)
    is_kept = np.arange(rows) < fixed
    duplicate_of, finder = np.full(rows, -1), np.full(rows, -1)
    undecided = np.arange(fixed, rows)
    while len(undecided):
        found = np.stack([each.best_near(undecided, alive) for each in finders])
        best, by = found.min(axis=0), found.argmin(axis=0)
        is_free = best == rows
        is_kept[undecided[is_free]] = True
        goes = ~is_free & is_kept[np.minimum(best, rows - 1)]
        gone = undecided[goes]
        duplicate_of[gone], finder[gone], alive[gone] = best[goes], by[goes], False
        undecided = undecided[~is_free & ~goes]
    return Kept(duplicate_of, finder)
