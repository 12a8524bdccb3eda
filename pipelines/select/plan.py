"""What is to be selected and how far it is known: the plan that a selection's scans hand on to one another.

Subsets are cuts of the ranking by quality. A sample is drawn from a pool, which is all eligible pairs or the top
q% of them: in equal shares from 20 strata, the equal slices of the pool's ranking, and within a stratum by the
pairs' seeded hash. So samples of a pool are nested, exact in count, and all of one distribution of quality
(law 6). The strata's borders are cuts too, and so is each stratum's share of each sample.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import numpy as np

from clipsieve.pipelines.select import thresholds
from clipsieve.pipelines.select.scored import Scored
from clipsieve.pipelines.select.thresholds import (
    DIGIT_BINS,
    DIGIT_BITS,
    DRAWING_DIGITS,
    QUALITY_DIGITS,
    Cut,
    Histogram,
    new_cut,
)
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import as_strings
from clipsieve.schemas.options import SelectOptions, parse_combination
from clipsieve.schemas.sizes import size_name
from clipsieve.schemas.uid import uid_strings

STRATA = 20


@dataclass(frozen=True)
class Subset:
    """One subset or sample: the folder and name of its files, and which pairs are its members."""

    folder: str
    name: str
    percent: float
    """The pairs that score best: the members themselves, or of a sample the pool."""
    size: int | None = None
    """Pairs of a sample."""


def subsets_of(options: SelectOptions) -> list[Subset]:
    """All that is to be cut, in order."""
    tops = [Subset("subsets", f"top{percent:g}", percent) for percent in options.fractions]
    samples = [Subset("samples", size_name(size), 100, size) for size in sorted(set(options.sizes))]
    combined = [Subset("samples", name, *parse_combination(name)) for name in options.combinations]
    return [*tops, *samples, *combined]


def most_scans(options: SelectOptions) -> int:
    """After how many scans everything is known, whatever the rows."""
    return QUALITY_DIGITS + (DRAWING_DIGITS if options.sizes or options.combinations else 0)


@dataclass(frozen=True)
class SelectionPlan:
    """The selection as far as it is known between two scans."""

    options: SelectOptions
    bins: np.ndarray | None = None
    """int64[65536]: rows by their quality key's first digit; None before the first pass."""
    quality: tuple[Cut, ...] = ()
    """Cuts of the ranking, by rank: the subsets' borders, and the strata's of each pool that is sampled."""
    drawing: tuple[Cut, ...] | None = None
    """Cuts by drawing key; a cut's group is that of its pool's stratum. None before the strata are known."""

    @property
    def rows(self) -> int:
        """How many pairs are eligible; to be asked after the first pass."""
        return 0 if self.bins is None else int(self.bins.sum())

    @property
    def finished(self) -> bool:
        return self.bins is not None and not any(cut.missing for cut in (*self.quality, *(self.drawing or ())))

    @property
    def needs_uids(self) -> bool:
        """Whether the next pass looks at uids; the first one does, to check them."""
        return self.bins is None or self.drawing is not None or _depth(self.quality) >= 2

    @cached_property
    def pools(self) -> list[float]:
        """The percentages of the pools that are sampled."""
        return sorted({subset.percent for subset in subsets_of(self.options) if subset.size})

    @cached_property
    def starts(self) -> np.ndarray:
        """int64[C + 1]: the ranks at which the segments between the resolved cuts begin."""
        return np.array(sorted({0, *(cut.rank for cut in self.quality)}))

    @cached_property
    def borders(self) -> np.ndarray:
        """bytes[C] of 20: the quality keys of the last row of each segment but the last."""
        digits = thresholds.borders([cut for cut in self.quality if cut.rank], QUALITY_DIGITS)
        return as_strings(digits.astype(">u2").view(np.uint8))

    @cached_property
    def border_keys(self) -> np.ndarray:
        """uint32[C]: the first 32 bits of `borders`."""
        return self.borders.view(np.uint8).reshape(-1, 20)[:, :4].copy().view(">u4").reshape(-1).astype(np.uint32)

    def strata(self, percent: float) -> np.ndarray:
        """int64[C + 1]: of each segment its stratum of the pool; 20 stands for after the pool."""
        return np.searchsorted(strata_ends(thresholds.top_count(self.rows, percent)), self.starts, side="right")

    def groups(self, percent: float) -> np.ndarray:
        """int64[C + 1]: of each segment the group of its stratum of the pool; −1 stands for after the pool."""
        strata = self.strata(percent)
        return np.where(strata == STRATA, -1, self.first_group(percent) + strata)

    def first_group(self, percent: float) -> int:
        """The number, among the strata of all pools, of a pool's best stratum; its others follow."""
        return self.pools.index(percent) * STRATA


def count_rows(plan: SelectionPlan, rows: Scored) -> Histogram:
    """What the plan's next step must know of some eligible rows."""
    if plan.bins is None:
        return thresholds.count(_first_digits(rows.keys)[:, None], None, [new_cut(0, 1)])
    if plan.drawing is None:
        return _count_quality(plan, rows)
    digits = thresholds.drawing_digits(thresholds.hash_of(rows.raw_uids, plan.options.seed))
    segments = segments_of(plan, rows)
    return thresholds.add(
        thresholds.count(digits, plan.groups(percent)[segments], plan.drawing) for percent in plan.pools
    )


def advance(plan: SelectionPlan, histogram: Histogram) -> SelectionPlan:
    """The plan after a pass over all rows; a finished one stays as it is.

    Raises InputError when a sample is larger than its pool, or two rows at a border have one key.
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
        if plan.finished and plan.pools:
            plan = replace(plan, drawing=_drawing_cuts(plan))
        return plan
    plan = replace(plan, drawing=thresholds.advance(plan.drawing, histogram))
    _refuse_one_hash(plan)
    return plan


def segments_of(plan: SelectionPlan, rows: Scored) -> np.ndarray:
    """int64[N]: in which segment between the cuts of the ranking each row lies; 0 is the best.

    Uids are looked at where a row's score is just a border's.
    """
    segments = np.searchsorted(plan.border_keys, rows.keys, side="left")
    if len(plan.border_keys):
        at_border = plan.border_keys[np.minimum(segments, len(plan.border_keys) - 1)] == rows.keys
        if at_border.any():
            some = rows.where(at_border)
            digits = thresholds.quality_digits(some.keys, some.raw_uids)
            full_keys = as_strings(digits.astype(">u2").view(np.uint8))
            segments[at_border] = np.searchsorted(plan.borders, full_keys, side="left")
    return segments


def quantile_ranks(plan: SelectionPlan, rows: Scored) -> np.ndarray:
    """float64[N] in [0, 1): the share of the eligible pairs that rank above.

    Interpolated within the 65,536 bins of similarity (1/128 of a power of two wide each), then held between
    the ranks of the cuts on either side: a row is in the top q% if and only if its rank is below
    ⌊N·q/100⌋ / N.
    """
    if plan.bins is None:
        raise ValueError("the plan has not seen the rows yet")
    above = np.cumsum(plan.bins) - plan.bins
    first, second = _first_digits(rows.keys), rows.keys & np.uint32(DIGIT_BINS - 1)
    rank = above[first] + plan.bins[first] * (second / DIGIT_BINS)
    ends, segments = np.append(plan.starts[1:], plan.rows), segments_of(plan, rows)
    return np.clip(rank, plan.starts[segments], ends[segments] - 1) / plan.rows


def members(plan: SelectionPlan, subset: Subset, quantile_rank: np.ndarray, sample_rank: np.ndarray) -> np.ndarray:
    """bool[N]: which rows are of the subset, by their columns of the selection table, float64[N] each.

    The quantile_rank of a row that is not eligible is NaN.
    """
    if subset.size is None:
        return quantile_rank < thresholds.top_count(plan.rows, subset.percent) / max(1, plan.rows)
    # Each stratum has a limit, the largest sample_rank that the sample takes of it; −1 takes nothing:
    #     stratum    0      1      …    19     20 (after the pool)
    #     limit      0.12   0.08   …    0.11   −1
    limits = np.full(STRATA + 1, -1.0)
    wanted = _shares_by_group(plan, subset)
    cuts = [cut for cut in plan.drawing or () if cut.rank and wanted.get(cut.group) == cut.rank]
    last = thresholds.borders(cuts, DRAWING_DIGITS).astype(">u2").view(">u8").reshape(-1).astype(np.uint64)
    limits[[cut.group % STRATA for cut in cuts]] = thresholds.unit_interval(last)
    # `quantile_ranks` divides ranks by the rows as is done here, so that a row at a border is in the same segment.
    segments = np.searchsorted(plan.starts / max(1, plan.rows), quantile_rank, side="right") - 1
    return ~np.isnan(quantile_rank) & (sample_rank <= limits[plan.strata(subset.percent)[segments]])


def strata_ends(rows: int) -> list[int]:
    """The ranks before which the strata of a pool of ``rows`` pairs end."""
    return list(accumulate(thresholds.equal_shares(rows, STRATA)))


def _count_quality(plan: SelectionPlan, rows: Scored) -> Histogram:
    """Count among the rows alone that share the digits of a border."""
    depth, prefixes = _depth(plan.quality), thresholds.open_prefixes(plan.quality)
    if depth == 1:
        is_open = np.isin(_first_digits(rows.keys), [digits[0] for _, digits in prefixes])
        keys = rows.keys[is_open]
        return thresholds.count(keys.astype(">u4").view(">u2").astype(np.uint16).reshape(-1, 2), None, plan.quality)
    at_border = rows.where(np.isin(rows.keys, [digits[0] * DIGIT_BINS + digits[1] for _, digits in prefixes]))
    return thresholds.count(thresholds.quality_digits(at_border.keys, at_border.raw_uids), None, plan.quality)


def _first_digits(keys: np.ndarray) -> np.ndarray:
    """uint32[N] -> uint32[N] below 65,536"""
    return keys >> np.uint32(DIGIT_BITS)


def _depth(cuts: Iterable[Cut]) -> int:
    """How many digits the unresolved cuts have found; they all have as many."""
    return next((len(cut.digits) for cut in cuts if cut.missing), 0)


def _quality_cuts(options: SelectOptions, rows: int) -> tuple[Cut, ...]:
    ranks: set[int] = set()
    for subset in subsets_of(options):
        pool = thresholds.top_count(rows, subset.percent)
        if subset.size is None:
            ranks.add(pool)
            continue
        if subset.size > pool:
            pairs = f"{size_name(subset.size)} pairs cannot be drawn from {pool:,} eligible pairs"
            raise InputError(f"{subset.name}: a sample of {pairs}")
        ranks.update(strata_ends(pool))
    return tuple(new_cut(0, rank) for rank in sorted(ranks))


def _drawing_cuts(plan: SelectionPlan) -> tuple[Cut, ...]:
    samples = [subset for subset in subsets_of(plan.options) if subset.size]
    shares = {each for sample in samples for each in _shares_by_group(plan, sample).items()}
    return tuple(new_cut(group, share) for group, share in sorted(shares))


def _shares_by_group(plan: SelectionPlan, sample: Subset) -> dict[int, int]:
    """How many pairs a sample takes of each stratum of its pool, by the stratum's group."""
    return dict(enumerate(thresholds.equal_shares(sample.size or 0, STRATA), plan.first_group(sample.percent)))


def _refuse_one_uid(cuts: tuple[Cut, ...]) -> None:
    for cut in cuts:
        if cut.missing and len(cut.digits) == QUALITY_DIGITS:
            uid = uid_strings(np.array(cut.digits[2:], ">u2").view(np.uint8).reshape(1, 16))[0]
            raise InputError(f"uid {uid} is duplicated in the scores, with one similarity; remove one of the rows")


def _refuse_one_hash(plan: SelectionPlan) -> None:
    """Of a billion pairs two at one sample's border have one 53-bit hash in one of ten million selections."""
    for cut in plan.drawing or ():
        if cut.missing and len(cut.digits) == DRAWING_DIGITS:
            raise InputError(
                f"hash collision at a sample boundary (seed {plan.options.seed}): choose another `seed`, "
                "unless a uid is duplicated"
            )
