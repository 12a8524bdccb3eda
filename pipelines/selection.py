"""What is to be selected and how far it is known: the plan that a selection's passes hand on to one another.

Subsets are cuts of the ranking by quality. Samples are drawn in equal shares from 20 strata, the equal slices
of that ranking, and within a stratum by the pairs' seeded hash: so samples are nested, exact in count, and
all of one distribution of quality (law 6). The strata's borders are cuts too, and so is each stratum's share
of each sample.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import numpy as np
import pyarrow as pa

from pipelines import thresholds
from pipelines.thresholds import DIGIT_BINS, Cut, Histogram, new_cut
from schemas.errors import InputError
from schemas.recipe import SelectOptions, size_name
from schemas.uid import uid_bytes, uid_strings

STRATA = 20
MOST_PASSES = thresholds.QUALITY_DIGITS + thresholds.DRAWING_DIGITS


@dataclass(frozen=True)
class Scored:
    """Some rows of a scores table."""

    uids: pa.Array
    similarity: np.ndarray
    """float32[N], finite."""

    @cached_property
    def raw_uids(self) -> np.ndarray:
        """uint8[N, 16]"""
        return uid_bytes(self.uids)

    @cached_property
    def quality(self) -> np.ndarray:
        """uint16[N, 10]: the rows' quality keys."""
        return thresholds.quality_digits(self.similarity, self.raw_uids)

    def hashes(self, seed: int) -> np.ndarray:
        """uint64[N]: the order in which the rows are drawn."""
        return thresholds.hash_of(self.uids.to_pylist(), seed)


@dataclass(frozen=True)
class Plan:
    """The selection as far as it is known between two passes."""

    options: SelectOptions
    bins: np.ndarray | None = None
    """int64[65536]: rows by their quality key's first digit; None before the first pass."""
    quality: tuple[Cut, ...] = ()
    """Cuts of the ranking: the subsets' borders, and the strata's where samples are asked for."""
    drawing: tuple[Cut, ...] | None = None
    """Cuts by drawing key; a cut's group is its stratum. None before the strata are known."""

    @property
    def rows(self) -> int:
        """How many pairs are eligible; to be asked after the first pass."""
        return 0 if self.bins is None else int(self.bins.sum())

    @property
    def finished(self) -> bool:
        return self.bins is not None and not any(cut.missing for cut in (*self.quality, *(self.drawing or ())))


def count_rows(plan: Plan, rows: Scored) -> Histogram:
    """What the plan's next step must know of some rows."""
    if plan.bins is None:
        return thresholds.count(rows.quality, None, [new_cut(0, 1)])
    if plan.drawing is None:
        return thresholds.count(rows.quality, None, plan.quality)
    digits = thresholds.drawing_digits(rows.hashes(plan.options.seed))
    return thresholds.count(digits, strata_of(plan, rows), plan.drawing)


def advance(plan: Plan, histogram: Histogram) -> Plan:
    """The plan after a pass over all rows; a finished one stays as it is.

    Raises InputError when a sample is larger than the pool, or two rows at a border have one key.
    """
    if plan.finished:
        return plan
    if plan.bins is None:
        bins = np.zeros(DIGIT_BINS, np.int64)
        bins[histogram.codes] = histogram.counts
        plan = replace(plan, bins=bins, quality=_quality_cuts(plan.options, int(bins.sum())))
    if plan.drawing is None:
        plan = replace(plan, quality=thresholds.advance(plan.quality, histogram))
        _refuse_one_uid(plan.quality)
        if plan.finished and plan.options.sizes:
            plan = replace(plan, drawing=_drawing_cuts(plan.options))
        return plan
    plan = replace(plan, drawing=thresholds.advance(plan.drawing, histogram))
    _refuse_one_hash(plan.drawing or ())
    return plan


def in_top(plan: Plan, rows: Scored, percent: float) -> np.ndarray:
    """bool[N]: which rows are of the top ``percent``."""
    return thresholds.within(rows.quality, _cut_at(plan, thresholds.top_count(plan.rows, percent)))


def in_sample(plan: Plan, rows: Scored, size: int) -> np.ndarray:
    """bool[N]: which rows are of the sample of ``size`` pairs."""
    digits = thresholds.drawing_digits(rows.hashes(plan.options.seed))
    strata = strata_of(plan, rows)
    inside = np.zeros(len(strata), bool)
    cuts = {(cut.group, cut.rank): cut for cut in plan.drawing or ()}
    for stratum, share in enumerate(thresholds.equal_shares(size, STRATA)):
        of_stratum = strata == stratum
        inside[of_stratum] = thresholds.within(digits[of_stratum], cuts[stratum, share])
    return inside


def strata_of(plan: Plan, rows: Scored) -> np.ndarray:
    """int64[N]: each row's slice of the ranking; 0 is the best."""
    return _cuts_passed(plan, rows, strata_borders(plan.rows))


def strata_borders(rows: int) -> list[int]:
    """The ranks at which the strata 1 to 19 begin."""
    return list(accumulate(thresholds.equal_shares(rows, STRATA)))[:-1]


def quantile_ranks(plan: Plan, rows: Scored) -> np.ndarray:
    """float64[N] in [0, 1): the share of the eligible pairs that rank above.

    Interpolated within the 65,536 bins of similarity (1/128 of a power of two wide each), then held between
    the ranks of the cuts on either side: a row is in the top q% if and only if its rank is below
    ⌊N·q/100⌋ / N.
    """
    if plan.bins is None:
        raise ValueError("the plan has not seen the rows yet")
    above = np.concatenate([[0], np.cumsum(plan.bins)])
    first = rows.quality[:, 0].astype(np.int64)
    rank = above[first] + plan.bins[first] * (rows.quality[:, 1] / DIGIT_BINS)
    ranks = np.array(sorted({0, plan.rows, *(cut.rank for cut in plan.quality)}))
    passed = _cuts_passed(plan, rows, ranks[1:-1].tolist())
    return np.clip(rank, ranks[passed], ranks[passed + 1] - 1) / plan.rows


def _cuts_passed(plan: Plan, rows: Scored, ranks: Iterable[int]) -> np.ndarray:
    """int64[N]: how many of the cuts at ``ranks`` each row lies behind."""
    passed = np.zeros(len(rows.similarity), np.int64)
    for rank in ranks:
        passed += ~thresholds.within(rows.quality, _cut_at(plan, rank))
    return passed


def _quality_cuts(options: SelectOptions, rows: int) -> tuple[Cut, ...]:
    for size in options.sizes:
        if size > rows:
            raise InputError(f"sizes: a sample of {size_name(size)} pairs cannot be drawn from {rows:,} eligible pairs")
    ranks = {thresholds.top_count(rows, percent) for percent in options.fractions}
    if options.sizes:
        ranks |= set(strata_borders(rows))
    return tuple(new_cut(0, rank) for rank in sorted(ranks))


def _drawing_cuts(options: SelectOptions) -> tuple[Cut, ...]:
    shares = {
        (stratum, share)
        for size in options.sizes
        for stratum, share in enumerate(thresholds.equal_shares(size, STRATA))
    }
    return tuple(new_cut(stratum, share) for stratum, share in sorted(shares))


def _cut_at(plan: Plan, rank: int) -> Cut:
    return next(cut for cut in plan.quality if cut.rank == rank)


def _refuse_one_uid(cuts: tuple[Cut, ...]) -> None:
    for cut in cuts:
        if cut.missing and len(cut.digits) == thresholds.QUALITY_DIGITS:
            uid = uid_strings(np.array(cut.digits[2:], ">u2").view(np.uint8).reshape(1, 16))[0]
            raise InputError(f"uid {uid} stands twice in the scores, with one similarity; remove one of the rows")


def _refuse_one_hash(cuts: tuple[Cut, ...]) -> None:
    """Of different uids two have one 64-bit hash at a border in hardly one of a billion selections."""
    for cut in cuts:
        if cut.missing and len(cut.digits) == thresholds.DRAWING_DIGITS:
            raise InputError(
                "two pairs at the border of a sample have one seeded hash; if no uid stands twice, choose another seed"
            )
