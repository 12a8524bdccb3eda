"""Pictures whose embeddings are near: candidates by a block product within clusters, each checked by itself."""

from __future__ import annotations

import numpy as np

from clipsieve.pipelines.dedup.clusters import Gather, cluster
from clipsieve.pipelines.dedup.search import Near, search_clusters

_ROUNDING = 1e-4
"""How far a block product of unit vectors in float32 may be from their true cosine."""


class NearEmbeddings:
    """Near are two rows whose embeddings' cosine is at least ``min_cosine``, computed in float64 pair by pair.

    ``rows`` int64[M], ascending, are those that have an embedding; ``gather`` reads them. Of the pairs that are near
    those are found that share a cluster.
    """

    def __init__(self, rows: np.ndarray, gather: Gather, min_cosine: float, seed: int) -> None:
        self._gather = gather
        self._min_cosine = min_cosine
        self._clusters = cluster(rows, gather, seed)

    def best_near(self, asking: np.ndarray, alive: np.ndarray) -> np.ndarray:
        return search_clusters(self._clusters, self._near_of, asking, alive)

    def _near_of(self, members: np.ndarray) -> Near:
        vectors = self._gather(members)

        def near(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            one_of, other_of = vectors[np.searchsorted(members, rows)], vectors[np.searchsorted(members, columns)]
            one, other = np.nonzero(one_of @ other_of.T >= self._min_cosine - _ROUNDING)
            true = np.einsum("kd,kd->k", one_of[one].astype(np.float64), other_of[other].astype(np.float64))
            return one[true >= self._min_cosine], other[true >= self._min_cosine]

        return near
