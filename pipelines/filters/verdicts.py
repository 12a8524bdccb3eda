"""The table that rules make of a score file, and the waterfall that is counted from such tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from clipsieve.schemas import tables
from clipsieve.schemas.counts import FilterCounts
from clipsieve.schemas.waterfall import RuleCounts, Waterfall


def verdict_table(uids: pa.Array, reasons: Sequence[str], rejected: np.ndarray) -> pa.Table:
    """uids[N] and bool[N, K], a column a rule -> uid, the reason of the first rule that rejects, and the K columns."""
    names = np.array([*reasons, None], dtype=object)
    first = np.where(rejected.any(axis=1), rejected.argmax(axis=1), len(reasons))
    columns = {"uid": uids, "reject_reason": pa.array(names[first], pa.string())}
    return pa.table(columns | {reason: pa.array(rejected[:, place]) for place, reason in enumerate(reasons)})


@dataclass(frozen=True)
class Tally:
    """Counts over some pairs, of K rules."""

    pairs: int
    both: np.ndarray
    """int64[K, K]: pairs that two rules reject; on the diagonal those that one rejects."""
    in_order: np.ndarray
    """int64[K]: pairs that a rule is the first to reject."""
    only: np.ndarray
    """int64[K]: pairs that no other rule rejects."""


def tally(rejected: np.ndarray) -> Tally:
    """bool[N, K] -> counts."""
    rows, rules = rejected.shape
    is_rejected = rejected.any(axis=1)
    flags = rejected.astype(np.float64)  # a product of integers is not BLAS's; counts are exact below 2**53
    return Tally(
        rows,
        (flags.T @ flags).astype(np.int64),
        np.bincount(rejected[is_rejected].argmax(axis=1), minlength=rules),
        rejected[rejected.sum(axis=1) == 1].sum(axis=0, dtype=np.int64),
    )


def tally_file(path: str, reasons: Sequence[str]) -> Tally:
    """The tally of a file that `verdict_table` made, read batch by batch."""
    batches = tables.iter_batches(path, tables.FILTERS, reasons)
    columns = ([batch[reason].to_numpy(zero_copy_only=False) for reason in reasons] for batch in batches)
    empty = np.zeros((0, len(reasons)), bool)
    return add([tally(empty), *(tally(np.stack(batch, axis=1)) for batch in columns)])


def add(tallies: Iterable[Tally]) -> Tally:
    """The tally of all the pairs that ``tallies``, of which there is one at least, counted."""
    parts = list(tallies)
    arrays = (np.sum([getattr(part, name) for part in parts], axis=0) for name in ("both", "in_order", "only"))
    return Tally(sum(part.pairs for part in parts), *arrays)


def waterfall_of(counted: Tally, rules: Sequence[tuple[str, str]]) -> Waterfall:
    """A tally in the words of its rules, which are (reason, text)."""
    return Waterfall(
        pairs=counted.pairs,
        rules=tuple(
            RuleCounts(
                reason=reason,
                text=text,
                alone=counted.both[place, place],
                in_order=counted.in_order[place],
                only=counted.only[place],
                both=tuple(counted.both[place].tolist()),
            )
            for place, (reason, text) in enumerate(rules)
        ),
    )


def count_waterfall(paths: Iterable[str], rules: Sequence[tuple[str, str]]) -> Waterfall:
    """The waterfall of the files at ``paths``, of which there is one at least; ``rules`` are (reason, text)."""
    reasons = [reason for reason, _ in rules]
    return waterfall_of(add(tally_file(path, reasons) for path in paths), rules)


def filter_counts(waterfall: Waterfall) -> FilterCounts:
    """The counts of filters of this waterfall."""
    removed = {rule.reason: rule.in_order for rule in waterfall.rules}
    return FilterCounts(pairs=waterfall.pairs, kept=waterfall.kept, removed=removed)
