"""Rows that share a value: the same uid, or the same bytes."""

from __future__ import annotations

import numpy as np


class EqualValues:
    """Near are two rows of one value; ``values`` is a sortable [N], ``has_value`` bool[N] says who takes part."""

    def __init__(self, values: np.ndarray, has_value: np.ndarray) -> None:
        _, self._group = np.unique(values, return_inverse=True)
        self._has_value = has_value

    def best_near(self, asking: np.ndarray, alive: np.ndarray) -> np.ndarray:
        rows = len(alive)
        first = np.full(rows, rows)
        candidates = np.flatnonzero(alive & self._has_value)[::-1]
        first[self._group[candidates]] = candidates  # the last write is the smallest row
        best = np.where(self._has_value[asking], first[self._group[asking]], rows)
        return np.where(best < asking, best, rows)
