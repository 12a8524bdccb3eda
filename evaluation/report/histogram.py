"""Similarities in bins whose borders are exact binary fractions, so that every count at a border is exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipsieve.evaluation.report.cuts import SubsetCut

FINE_BINS = 8192
"""Bins of 1/4096 over cosine similarities from -1 to 1, as they are counted."""
MOST_BINS = 512

_PER_UNIT = FINE_BINS // 2


@dataclass(frozen=True)
class SimilarityHistogram:
    """``counts[i]`` pairs have a similarity in [low + i·width, low + (i+1)·width)."""

    low: float
    width: float
    counts: tuple[int, ...]

    @property
    def high(self) -> float:
        return self.low + self.width * len(self.counts)

    def merged(self, factor: int) -> SimilarityHistogram:
        """Bins ``factor`` times as wide, the last filled up with empty ones."""
        padded = np.pad(np.array(self.counts), (0, -len(self.counts) % factor))
        counts = padded.reshape(-1, factor).sum(axis=1)
        return SimilarityHistogram(self.low, self.width * factor, tuple(counts.tolist()))


@dataclass(frozen=True)
class Stop:
    """A place where the threshold can stand: ``kept`` pairs lie at or above ``similarity``.

    At a configured cut, ``kept`` is the subset's exact count: of ties at the border only the smaller uids.
    """

    similarity: float
    kept: int
    cut: str | None = None


def count_fine(similarity: np.ndarray) -> np.ndarray:
    """similarity float64[N] -> int64[FINE_BINS]; what rounding put outside [-1, 1) is in the end bins."""
    bins = np.floor(similarity * _PER_UNIT).astype(np.int64) + _PER_UNIT
    return np.bincount(bins.clip(0, FINE_BINS - 1), minlength=FINE_BINS)


def occupied(fine: np.ndarray, most_bins: int = MOST_BINS) -> SimilarityHistogram:
    """The part of int64[FINE_BINS] that holds pairs, in at most ``most_bins`` bins, a power of two wide."""
    filled = np.flatnonzero(fine)
    first, last = int(filled[0]), int(filled[-1])
    factor = 1
    while last // factor - first // factor >= most_bins:
        factor *= 2
    start, stop = first // factor * factor, (last // factor + 1) * factor
    return SimilarityHistogram(start / _PER_UNIT - 1, 1 / _PER_UNIT, tuple(fine[start:stop].tolist())).merged(factor)


def for_drawing(histogram: SimilarityHistogram) -> SimilarityHistogram:
    """Bins wide enough to show a shape: about 2·n^(1/3) of them (Rice's rule), never finer than counted."""
    wanted = 2 * sum(histogram.counts) ** (1 / 3)
    factor = 1
    while len(histogram.counts) / factor > 1.5 * wanted:
        factor *= 2
    return histogram.merged(factor)


def stops(histogram: SimilarityHistogram, cuts: Sequence[SubsetCut]) -> tuple[Stop, ...]:
    """Every border between bins and every configured cut, by rising similarity and falling count."""
    kept = np.cumsum((0, *histogram.counts[::-1]))[::-1].tolist()
    borders = [Stop(histogram.low + i * histogram.width, count) for i, count in enumerate(kept)]
    configured = [Stop(cut.similarity, cut.count, cut.name) for cut in cuts]
    return tuple(sorted(borders + configured, key=lambda stop: (stop.similarity, -stop.kept)))
