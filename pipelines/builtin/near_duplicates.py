"""Groups of images that look alike, so that none of a group is seen in training and another in testing."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

MAX_HAMMING = 10
MAX_RMS = 0.10


def near_duplicate_groups(hashes: np.ndarray, thumbnails: np.ndarray, block: int = 512) -> np.ndarray:
    """Label each image with its group: int32[N].

    ``hashes`` uint64[N] are perceptual hashes, ``thumbnails`` float32[N, D] small images in [0, 1]. Two images are
    joined when at most 10 of the 64 bits differ and their thumbnails differ by at most 0.10 (root mean square); a
    group is what is joined directly or through others. Memory is one block of rows against all.
    """
    rows, columns = [], []
    square = (thumbnails**2).mean(axis=1)
    for start in range(0, len(hashes), block):
        part = slice(start, start + block)
        mean_product = thumbnails[part] @ thumbnails.T / thumbnails.shape[1]
        distance = np.sqrt(np.maximum(0, square[part, None] + square[None] - 2 * mean_product))
        hamming = np.bitwise_count(hashes[part, None] ^ hashes[None])
        found = np.nonzero((hamming <= MAX_HAMMING) & (distance <= MAX_RMS))
        rows.append(found[0] + start)
        columns.append(found[1])
    i, j = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(i), np.uint8), (i, j)), shape=(len(hashes), len(hashes)))
    return connected_components(graph, directed=False)[1]
