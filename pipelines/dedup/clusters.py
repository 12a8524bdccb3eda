"""Vectors sorted into clusters, so that near ones are looked for among few: spherical k-means (faiss).

The idea is SemDeDup's (Abbas et al., 2023). Two vectors that are near may lie on either side of a border, so each goes
to its `PROBES` nearest centroids, and a pair is found where the two share any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import faiss
import numpy as np

from clipsieve.pipelines.dedup.search import groups_of

PROBES = 3
ROWS_PER_CLUSTER = 1000
MOST_CLUSTERS = 65_536
_TRAINED_PER_CLUSTER = 64
_ITERATIONS = 8
_BLOCK_ROWS = 65_536

Gather = Callable[[np.ndarray], np.ndarray]
"""rows int64[R] -> float32[R, D], each of unit length."""


def cluster(rows: np.ndarray, gather: Gather, seed: int) -> list[np.ndarray]:
    """rows int64[N], ascending -> the members of each cluster, ascending; a row is in up to `PROBES` of them.

    The number of clusters grows with the rows; the centroids are those of a seeded sample. Memory is the sample's
    vectors and `PROBES` numbers a row.
    """
    count = min(MOST_CLUSTERS, len(rows) // ROWS_PER_CLUSTER)
    if count < 2 * PROBES:
        return [rows]
    sample = np.random.default_rng(seed).choice(rows, min(len(rows), count * _TRAINED_PER_CLUSTER), replace=False)
    vectors = gather(np.sort(sample))
    kmeans = faiss.Kmeans(
        vectors.shape[1], count, niter=_ITERATIONS, spherical=True, seed=seed, min_points_per_centroid=1
    )
    kmeans.train(vectors)
    nearest = [kmeans.index.search(gather(block), PROBES)[1] for block in _blocks(rows)]
    members = np.repeat(rows, PROBES)
    return [members[group] for group in groups_of(np.concatenate(nearest).ravel())]


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _BLOCK_ROWS):
        yield rows[start : start + _BLOCK_ROWS]
