"""Images that look alike: who is near whom, and groups around a first image, without chains."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, vstack

MAX_HAMMING = 10
MAX_RMS = 0.10


def near_duplicates(hashes: np.ndarray, thumbnails: np.ndarray, block: int = 512) -> csr_matrix:
    """Who is near whom: bool[N, N], symmetric, every image near itself.

    ``hashes`` uint64[N] are perceptual hashes, ``thumbnails`` float32[N, D] small images in [0, 1]. Two images are
    near when at most 10 of the 64 bits differ and their thumbnails differ by at most 0.10 (root mean square).
    Memory is one block of rows against all.
    """
    rows = []
    square = (thumbnails**2).mean(axis=1)
    for start in range(0, len(hashes), block):
        part = slice(start, start + block)
        mean_product = thumbnails[part] @ thumbnails.T / thumbnails.shape[1]
        distance = np.sqrt(np.maximum(0, square[part, None] + square[None] - 2 * mean_product))
        hamming = np.bitwise_count(hashes[part, None] ^ hashes[None])
        rows.append(csr_matrix((hamming <= MAX_HAMMING) & (distance <= MAX_RMS)))
    near = vstack(rows, format="csr")
    # A matrix product rounds by the place in its block, so the two sides of a pair at the very threshold may differ.
    return (near + near.T).tocsr()


def group_near_duplicates(near: csr_matrix) -> np.ndarray:
    """Each image's group, named by its first member: int64[N].

    In order, an image that is in no group yet begins one and takes in all that are near it and in none. Every member
    is near the first: groups do not grow through chains of pairs, at whose ends nothing is alike.
    """
    first = np.full(near.shape[0], -1)
    for image in range(len(first)):
        if first[image] < 0:
            members = near.indices[near.indptr[image] : near.indptr[image + 1]]
            first[members[first[members] < 0]] = image
            first[image] = image
    return first
