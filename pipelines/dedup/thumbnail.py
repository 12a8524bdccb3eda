"""Pictures that may be one by their pixels, cropped by a few percent or not: by thumbnails of 32 x 32 in colour.

A picture is compared as a whole and through `WINDOWS`, crops of it, with the other as a whole, both ways. First by
8 x 8 descriptors, whose cosine is their correlation: that finds candidates. Then at 16 x 16 under the best window: a
pair is a candidate where the two correlate and no part of them differs much. Small or faint differences are lost at
that size; same.py looks for them.
"""

from __future__ import annotations

import cv2
import numpy as np

from clipsieve.pipelines.dedup.clusters import Gather, cluster
from clipsieve.pipelines.dedup.search import FirstSame, Near, search_clusters

SIDE = 32
SMALL = 8
MIDDLE = 16
MIN_CONTRAST = 2.0
"""Standard deviation, in grey levels of 255, below which a picture is blank: its pattern is noise."""
MIN_CANDIDATE = 0.95
"""Least cosine of two descriptors; of planted copies 99.8% reach it under the best window."""
MIN_CORRELATION = 0.94
MAX_DIFFERENCE = 0.2
"""Largest mean absolute difference, of 1, over any 2 x 2 of the 16 x 16 cells, in the channel that differs most."""
_BLUR = 0.7
"""Cells of standard deviation: what two windows that are a quarter of a cell apart may differ by is smoothed away."""

_CORNERS = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5)]
_EDGES = [(0.0, 0.5), (0.5, 0.0), (0.5, 1.0), (1.0, 0.5)]
WINDOWS = [(0.0, 0.0, 1.0), *((x, y, 0.975) for x, y in _CORNERS), *((x, y, 0.95) for x, y in _CORNERS + _EDGES)]
"""(x, y, side): where the crop stands between the margins, 0 to 1, and its share of the picture's sides."""


def thumbnail_of(pixels: np.ndarray) -> np.ndarray:
    """uint8[H, W, 3] -> uint8[32, 32, 3], each cell the mean of the pixels under it."""
    return cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def has_contrast(thumbnails: np.ndarray) -> np.ndarray:
    """uint8[R, 32, 32, 3] -> bool[R]: whether it is more than one colour."""
    return np.asarray(thumbnails.reshape(len(thumbnails), -1).std(axis=1, dtype=np.float32) >= MIN_CONTRAST)


def descriptors(thumbnails: np.ndarray) -> np.ndarray:
    """uint8[R, 32, 32, 3] -> float32[R, W, 192] of unit length, for each of the W windows; the first is the whole."""
    pixels = thumbnails.astype(np.float32)
    seen = [_centred(_seen_through(pixels, _SMALL[window])) for window in range(len(WINDOWS))]
    return np.stack(seen, axis=1)


class NearThumbnails:
    """Near are two rows whose thumbnails agree and for which ``first_same`` agrees.

    ``gather`` reads the thumbnails of ``rows`` int64[M], ascending.

    Blank pictures must not be among them. Of the pairs that are near those are found that share a cluster.
    """

    def __init__(self, rows: np.ndarray, gather: Gather, seed: int, first_same: FirstSame) -> None:
        self._gather, self._first_same = gather, first_same
        self._clusters = cluster(rows, lambda some: descriptors_of_whole(gather(some)), seed)

    def best_near(self, asking: np.ndarray, alive: np.ndarray) -> np.ndarray:
        return search_clusters(self._clusters, self._near_of, asking, alive)

    def _near_of(self, members: np.ndarray) -> Near:
        thumbnails = self._gather(members)
        seen = descriptors(thumbnails)

        def near(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            ones, others = np.searchsorted(members, rows), np.searchsorted(members, columns)
            cosine, window = _best_windows(seen[ones], seen[others])
            one, other = np.nonzero((cosine >= MIN_CANDIDATE) & (columns < rows[:, None]))
            is_candidate = _agree(thumbnails[ones[one]], thumbnails[others[other]], window[one, other])
            one, other = one[is_candidate], other[is_candidate]
            is_near = self._first_same(rows[one], columns[other])
            return one[is_near], other[is_near]

        return near


def descriptors_of_whole(thumbnails: np.ndarray) -> np.ndarray:
    """uint8[R, 32, 32, 3] -> float32[R, 192]: `descriptors` through the first window."""
    return _centred(_seen_through(thumbnails.astype(np.float32), _SMALL[0]))


def _best_windows(ones: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32[R, W, D], float32[C, W, D] -> the best cosine float32[R, C], and its window int8[R, C].

    Windows 0 to W - 1 are of the one against the whole of the other, the next W the other way round.
    """
    count = len(WINDOWS)
    best = np.full((len(ones), len(others)), -np.inf, np.float32)
    window = np.zeros(best.shape, np.int8)
    for number in [*range(count), *range(count + 1, 2 * count)]:
        is_other, of = divmod(number, count)
        cosine = ones[:, 0] @ others[:, of].T if is_other else ones[:, of] @ others[:, 0].T
        is_better = cosine > best
        best[is_better], window[is_better] = cosine[is_better], number
    return best, window


def _agree(ones: np.ndarray, others: np.ndarray, window: np.ndarray) -> np.ndarray:
    """uint8[K, 32, 32, 3] twice, int[K] of `_best_windows` -> bool[K]: whether nothing differs at 16 x 16."""
    agree = np.zeros(len(ones), bool)
    for number in np.unique(window):
        pairs = np.flatnonzero(window == number)
        is_other, of = divmod(int(number), len(WINDOWS))
        cropped, whole = (others, ones) if is_other else (ones, others)
        seen = _seen_through(cropped[pairs].astype(np.float32), _MIDDLE[of])
        plain = _seen_through(whole[pairs].astype(np.float32), _MIDDLE[0])
        correlation = np.einsum("kd,kd->k", _centred(seen), _centred(plain))
        cells = np.abs(seen - plain).max(axis=3) / 255
        parts = (cells[:, 1:, 1:] + cells[:, :-1, 1:] + cells[:, 1:, :-1] + cells[:, :-1, :-1]) / 4
        agree[pairs] = (correlation >= MIN_CORRELATION) & (parts.max(axis=(1, 2)) <= MAX_DIFFERENCE)
    return agree


def _centred(pixels: np.ndarray) -> np.ndarray:
    """float32[R, ...] -> float32[R, D], less each row's mean, of unit length; of no contrast zeros."""
    flat = pixels.reshape(len(pixels), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)


def _seen_through(pixels: np.ndarray, window: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """float32[R, 32, 32, 3] -> float32[R, S, S, 3]: resampled, rows by the one matrix and columns by the other."""
    down, across = window
    rows = np.einsum("sh,rhwc->rswc", down, pixels, optimize=True)
    return np.einsum("tw,rswc->rstc", across, rows, optimize=True)


def _resampling(start: float, length: float, cells: int) -> np.ndarray:
    """float32[cells, 32]: each cell the mean over its share of the stretch [start, start + length) of 32 pixels."""
    edges = start + length * np.arange(cells + 1) / cells
    low, high = np.arange(SIDE), np.arange(1, SIDE + 1)
    overlap = np.minimum(edges[1:, None], high) - np.maximum(edges[:-1, None], low)
    return (overlap.clip(0) * cells / length).astype(np.float32)


def _blurring(cells: int) -> np.ndarray:
    """float32[cells, cells]: a Gaussian along one axis; its weights add up to 1."""
    place = np.arange(cells)
    weights = np.exp(-((place[:, None] - place) ** 2) / (2 * _BLUR**2))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _matrices(cells: int, blurring: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each window the matrices of its rows and of its columns."""
    lengths = [SIDE * side for _, _, side in WINDOWS]
    return [
        (
            blurring @ _resampling(y * (SIDE - length), length, cells),
            blurring @ _resampling(x * (SIDE - length), length, cells),
        )
        for (x, y, _), length in zip(WINDOWS, lengths, strict=True)
    ]


_SMALL = _matrices(SMALL, np.eye(SMALL, dtype=np.float32))
_MIDDLE = _matrices(MIDDLE, _blurring(MIDDLE))
