"""Exact order statistics over any number of rows, in scans that hold histograms alone: a radix selection.

A row's key is a string of 16-bit digits, most significant first; smaller keys come first.

    quality key (10 digits): similarity, descending, as an order-preserving uint32; then the uid's 16 bytes
    drawing key (4 digits):  a seeded hash of the uid (`hash_of`)

A `Cut` asks for the ``rank`` smallest keys of a group of rows. A pass counts the next digit among the rows
that share the digits which a cut has found so far; summed over all rows, the histogram tells in which bin the
cut's border lies.

    rank = 5      digit 0: bins  0  1  2        take bins 0 whole (2), 3 of the 4 in bin 1
                         counts  2  4  3        next scan: digit 1 among rows whose digit 0 is 1

A cut is resolved as soon as a bin is taken whole. No two rows have one quality key, so that happens at the
last digit at the latest; unless thousands of scores are equal, it happens within two or three scans. Ties go
to the smaller uid. Everything here is a pure function on numpy arrays; `clipsieve.pipelines.select.job` carries it
out over files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

DIGIT_BITS = 16
DIGIT_BINS = 1 << DIGIT_BITS
QUALITY_DIGITS = 10
DRAWING_DIGITS = 4
_UNHELD_BITS = np.uint64(11)
"""Of a 64-bit hash a float64 holds the upper 53 bits."""


@dataclass(frozen=True, order=True)
class Cut:
    """The ``rank`` smallest keys among the rows of ``group``, as far as their border is known."""

    group: int
    rank: int
    missing: int
    """How many rows are still to be taken from those whose key begins with ``digits``; 0: resolved."""
    digits: tuple[int, ...] = ()

    @property
    def prefix(self) -> tuple[int, tuple[int, ...]]:
        return self.group, self.digits


def new_cut(group: int, rank: int) -> Cut:
    return Cut(group, rank, rank)


@dataclass(frozen=True)
class Histogram:
    """How many rows have which digit, for each prefix that some unresolved cut holds."""

    codes: np.ndarray
    """int64[M], ascending, unique: the prefix's index in `open_prefixes`, times 65,536, plus the digit."""
    counts: np.ndarray
    """int64[M]"""


EMPTY = Histogram(np.zeros(0, np.int64), np.zeros(0, np.int64))


def descending_key(similarity: np.ndarray) -> np.ndarray:
    """Finite float32[N] -> uint32[N] that sort the other way round; −0.0 and +0.0 have one key."""
    # Bits of floats rise with the value, below the sign bit, for positive numbers, and fall for negative ones:
    #     value      1.0        0.0        -1.0       -2.0
    #     bits       3F800000   00000000   BF800000   C0000000
    #     key        407FFFFF   7FFFFFFF   BF800000   C0000000
    bits = (similarity.astype(np.float32) + np.float32(0)).view(np.uint32)  # −0.0 + 0.0 is +0.0
    negative = bits >> np.uint32(31) == 1
    return np.where(negative, bits, ~bits & np.uint32(0x7FFFFFFF))


def hash_of(uids: np.ndarray, seed: int) -> np.ndarray:
    """uids uint8[N, 16] -> uint64[N]: the order of drawing, a hash of uid and seed whose 11 lowest bits are 0.

    ``mix(mix(mix(seed) ^ upper) ^ lower)`` of the uid's upper and lower 64 bits, cut to the 53 bits that a
    float64 holds; ``mix`` is a step of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
    Generators, OOPSLA 2014), so mix(0) is 0xE220A8397B1DCDAF.
    """
    upper, lower = np.ascontiguousarray(uids).view(">u8").astype(np.uint64).T
    hashes = _mix(np.array([seed % (1 << 64)], np.uint64))
    for half in (upper, lower):
        hashes = _mix(hashes ^ half)
    return hashes >> _UNHELD_BITS << _UNHELD_BITS


def _mix(state: np.ndarray) -> np.ndarray:
    mixed = state + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def unit_interval(hashes: np.ndarray) -> np.ndarray:
    """uint64[N] -> float64[N] in [0, 1), in the same order; of what `hash_of` returns nothing is lost."""
    return (hashes >> _UNHELD_BITS).astype(np.float64) / 2.0**53


def quality_digits(keys: np.ndarray, uids: np.ndarray) -> np.ndarray:
    """`descending_key`s uint32[N] and uids uint8[N, 16] -> uint16[N, 10]."""
    heads = keys.astype(">u4").view(np.uint8).reshape(len(keys), 4)
    return np.concatenate([heads, uids], axis=1).view(">u2").astype(np.uint16)


def drawing_digits(hashes: np.ndarray) -> np.ndarray:
    """uint64[N] -> uint16[N, 4]."""
    return hashes.astype(">u8").view(">u2").astype(np.uint16).reshape(-1, DRAWING_DIGITS)


def open_prefixes(cuts: Iterable[Cut]) -> list[tuple[int, tuple[int, ...]]]:
    """The prefixes in which unresolved cuts have their border, in order; all are of one length."""
    return sorted({cut.prefix for cut in cuts if cut.missing})


def count(digits: np.ndarray, groups: np.ndarray | None, cuts: Iterable[Cut]) -> Histogram:
    """Count the next digit among rows uint16[N, D] of ``groups`` int[N] (None: all are of group 0)."""
    # For each prefix np.bincount(next digit of its rows), as the sparse pairs of np.unique.
    codes = []
    for index, (group, prefix) in enumerate(open_prefixes(cuts)):
        kept = np.ones(len(digits), bool) if groups is None else groups == group
        for position, digit in enumerate(prefix):
            kept &= digits[:, position] == digit
        codes.append(digits[kept, len(prefix)].astype(np.int64) + index * DIGIT_BINS)
    if not codes:
        return EMPTY
    return Histogram(*np.unique(np.concatenate(codes), return_counts=True))


def add(histograms: Iterable[Histogram]) -> Histogram:
    """The histogram of all the rows that ``histograms`` counted."""
    parts = list(histograms)
    if not parts:
        return EMPTY
    codes, where = np.unique(np.concatenate([part.codes for part in parts]), return_inverse=True)
    counts = np.zeros(len(codes), np.int64)
    np.add.at(counts, where, np.concatenate([part.counts for part in parts]))
    return Histogram(codes, counts)


def advance(cuts: Sequence[Cut], histogram: Histogram) -> tuple[Cut, ...]:
    """The cuts, each unresolved one a digit further, after a pass over all rows."""
    indices = {prefix: index for index, prefix in enumerate(open_prefixes(cuts))}
    return tuple(_step(cut, indices[cut.prefix], histogram) if cut.missing else cut for cut in cuts)


def borders(cuts: Sequence[Cut], width: int) -> np.ndarray:
    """Resolved cuts -> uint16[C, width]: the largest key that each takes in. Of rank 0 there is none: ValueError."""
    if any(cut.missing or not cut.rank for cut in cuts):
        raise ValueError("a cut has no border before it is resolved, nor one that takes nothing")
    # The last bin was taken whole: the largest key in it goes on with the largest digits.
    padded = [(*cut.digits, *[DIGIT_BINS - 1] * (width - len(cut.digits))) for cut in cuts]
    return np.array(padded, np.uint16).reshape(len(cuts), width)


def top_count(rows: int, percent: float) -> int:
    """⌊rows · percent / 100⌋ in integers; ``percent`` has at most two decimals."""
    return rows * round(percent * 100) // 10_000


def equal_shares(total: int, shares: int) -> list[int]:
    """``total`` in ``shares`` parts that differ by one at most, the larger ones first.

    Of two totals the smaller one has no larger part anywhere: so samples drawn by shares are nested, and a
    sample no larger than the pool finds enough rows in every stratum.
    """
    return [total // shares + (index < total % shares) for index in range(shares)]


def _step(cut: Cut, index: int, histogram: Histogram) -> Cut:
    start, stop = np.searchsorted(histogram.codes, [index * DIGIT_BINS, (index + 1) * DIGIT_BINS])
    # In the module's picture: missing 5, counts 2 4 3, through 2 6 9; so place is 1, and 3 of its bin are missing.
    through = np.cumsum(histogram.counts[start:stop])
    place = int(np.searchsorted(through, cut.missing))
    if place == len(through):
        raise ValueError(f"cut at rank {cut.rank}: only {through[-1] if len(through) else 0} rows in its bin")
    digit = int(histogram.codes[start + place]) % DIGIT_BINS
    taken_whole = int(through[place]) == cut.missing
    before = int(through[place - 1]) if place else 0
    return replace(cut, digits=(*cut.digits, digit), missing=0 if taken_whole else cut.missing - before)
