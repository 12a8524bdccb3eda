"""The pictures of candidate pairs, read again from their shards one by one: only those that may be repeats."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from clipsieve.pipelines.dedup.images import TASK_NAMING, as_stored
from clipsieve.pipelines.dedup.same import Picture, are_same, picture_of
from clipsieve.schemas.images import decode_sample
from clipsieve.schemas.naming import MemberNaming
from clipsieve.schemas.ranges import RangeReader
from clipsieve.schemas.samples import read_samples
from clipsieve.schemas.threads import map_ahead

_PICTURES = 2048
"""Pictures kept at hand, 112 kB each."""
_VERDICTS = 1 << 20
"""Pairs whose outcome is kept: hashes and thumbnails often ask for the same."""


class SamePictures:
    """Whether two rows show the same picture, seen closely (same.py).

    ``tars`` are the tars' paths, ``places`` int64[N, 3] of each row the number of its tar, the offset and the size of
    its sample there. The first ``fixed`` rows are images of evaluation tasks, made into what `download` stores; the
    others' members are named as ``naming`` says.
    """

    def __init__(self, tars: Sequence[str], places: np.ndarray, fixed: int, naming: MemberNaming | None) -> None:
        self._tars, self._places, self._fixed, self._naming = tars, places, fixed, naming
        self._ranges = RangeReader()
        self._picture = lru_cache(_PICTURES)(self._read)
        self._verdict = lru_cache(_VERDICTS)(self._compare)

    def first_of(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """rows int64[K], ascending, candidates columns int64[K], ascending for each row -> bool[K].

        True for at most one pair of a row, the first that holds: the others are not looked at.
        """
        found = np.zeros(len(rows), bool)
        edges = np.append(np.flatnonzero(np.diff(rows, prepend=-1)), len(rows)).tolist()
        for pair in map_ahead(lambda row: self._first(rows, columns, *row), pairwise(edges)):
            found[pair] = True
        return found

    def _first(self, rows: np.ndarray, columns: np.ndarray, start: int, end: int) -> slice:
        for pair in range(start, end):
            if self._verdict(int(rows[pair]), int(columns[pair])):
                return slice(pair, pair + 1)
        return slice(0, 0)

    def _compare(self, row: int, column: int) -> bool:
        return are_same(self._picture(row), self._picture(column))

    def _read(self, row: int) -> Picture:
        tar, offset, size = self._places[row].tolist()
        path = self._tars[tar]
        is_task = row < self._fixed
        (sample,) = read_samples([(path, offset, size)], self._ranges, TASK_NAMING if is_task else self._naming)
        if is_task:
            sample, _ = as_stored(sample, path)
        return picture_of(np.asarray(decode_sample(sample, path)))
