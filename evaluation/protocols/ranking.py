"""Where the right candidate stands when candidates are ordered by similarity, ties by the lower index."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_CHUNK_SCORES = 1 << 23


def score_chunks(queries: np.ndarray, candidates: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Cosine similarities of unit rows queries[Q, D] and candidates[C, D]: (slice of Q, float32[rows, C]).

    A chunk has at most 2**23 scores, or one row. Products are summed in float64 and rounded to float32, so
    that equal embeddings tie wherever they stand and the size of a chunk does not show.
    """
    wide = candidates.astype(np.float64).T
    rows = max(1, _CHUNK_SCORES // len(candidates))
    for start in range(0, len(queries), rows):
        chunk = slice(start, min(start + rows, len(queries)))
        yield chunk, (queries[chunk].astype(np.float64) @ wide).astype(np.float32)


def rank_of(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """scores[Q, C] and a target column each -> int64[Q]: how many candidates stand before the target."""
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    tied_before = (scores == own) & (np.arange(scores.shape[1]) < targets[:, None])
    return ((scores > own) | tied_before).sum(axis=1)


def hit_rate(ranks: np.ndarray, k: int) -> float:
    """Share of ranks within the top ``k``."""
    return float((ranks < k).mean())
