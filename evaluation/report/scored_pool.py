"""The scored pairs of a run: how many are in each quantile band, their histogram, and the pairs to show.

Each selection file becomes a small `ScoredPool` of its own and the pools are merged, so memory is bounded by one
file. Bands are bounded by the subsets' last members, not by a threshold alone, which cannot part ties.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.evaluation.report.cuts import SubsetCut
from clipsieve.evaluation.report.histogram import count_fine
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError

PAIRS_PER_BAND = 12
PAIRS_PER_SIDE = 6

DUPLICATE = "duplicate"
"""Why a pair with a duplicate_of and no reject_reason is not eligible."""


@dataclass(frozen=True)
class ScoredPair:
    """A scored pair; ``file`` is the stem of the score file that holds it."""

    uid: str
    similarity: float
    sample_rank: float
    file: str
    swapped: bool | None
    """Whether the input declares the caption to be another image's; None where it declares nothing."""


@dataclass(frozen=True)
class Band:
    """The pairs between two neighbouring cuts; ``drawn`` are those of the smallest seeded ``sample_rank``."""

    count: int
    declared: int
    """Pairs of which the input says whether their caption was swapped."""
    swapped: int
    drawn: tuple[ScoredPair, ...]


@dataclass(frozen=True)
class Border:
    """The last pairs that a cut keeps, and the first that it drops, best first."""

    above: tuple[ScoredPair, ...]
    below: tuple[ScoredPair, ...]


@dataclass(frozen=True)
class ScoredPool:
    """Of C cuts: C + 1 bands from the best down, and C borders."""

    rejected: Counter[str]
    fine: np.ndarray
    """int64[FINE_BINS], see `histogram.count_fine`."""
    bands: tuple[Band, ...]
    borders: tuple[Border, ...]

    @property
    def eligible(self) -> int:
        return sum(band.count for band in self.bands)

    @property
    def scored(self) -> int:
        return self.eligible + sum(self.rejected.values())


def read_pool(run_dir: str, cuts: Sequence[SubsetCut]) -> ScoredPool:
    """The pool of ``run_dir``/selection; InputError when there is none or no pair of it is eligible."""
    folder = files.join(run_dir, "selection")
    paths = files.list_files(folder, ".parquet")
    parts = (_read_part(run_dir, path, cuts) for path in paths)
    pool = reduce(merge, parts) if paths else None
    if pool is None or not pool.eligible:
        raise InputError(f"{folder}: no eligible pair there; run `clipsieve select` first")
    return pool


def part_of(selection: pa.Table, swapped: Sequence[bool | None], file: str, cuts: Sequence[SubsetCut]) -> ScoredPool:
    """The pool of one selection table; ``swapped`` is aligned with its rows."""
    repeats = pc.if_else(selection["duplicate_of"].is_valid(), DUPLICATE, None)
    reasons = pc.coalesce(selection["reject_reason"], repeats)
    rejected = Counter(reasons.drop_null().to_pylist())
    selection = selection.append_column("swapped", pa.array(swapped, pa.bool_())).filter(pc.is_null(reasons))
    similarity = selection["similarity"].to_numpy().astype(np.float64)
    uid = np.array(selection["uid"].to_pylist(), dtype=np.str_)
    ranked = selection.take(pa.array(np.lexsort((uid, -similarity))))
    kept = [int(cut.keeps(similarity, uid).sum()) for cut in cuts]
    edges = [0, *kept, len(uid)]
    return ScoredPool(
        rejected,
        count_fine(similarity),
        tuple(_band(ranked.slice(start, stop - start), file) for start, stop in pairwise(edges)),
        tuple(_border(ranked, edge, file) for edge in kept),
    )


def merge(first: ScoredPool, second: ScoredPool) -> ScoredPool:
    """The pool of both; the order does not matter."""
    bands = [
        Band(
            a.count + b.count,
            a.declared + b.declared,
            a.swapped + b.swapped,
            _sorted(a.drawn + b.drawn, by_draw)[:PAIRS_PER_BAND],
        )
        for a, b in zip(first.bands, second.bands, strict=True)
    ]
    borders = [
        Border(
            _sorted(a.above + b.above, by_rank)[-PAIRS_PER_SIDE:],
            _sorted(a.below + b.below, by_rank)[:PAIRS_PER_SIDE],
        )
        for a, b in zip(first.borders, second.borders, strict=True)
    ]
    return ScoredPool(first.rejected + second.rejected, first.fine + second.fine, tuple(bands), tuple(borders))


def by_rank(pair: ScoredPair) -> tuple[float, str]:
    """Sort key: best first, ties to the smaller uid."""
    return -pair.similarity, pair.uid


def by_draw(pair: ScoredPair) -> tuple[float, str]:
    """Sort key: the seeded order in which pairs are drawn."""
    return pair.sample_rank, pair.uid


def _read_part(run_dir: str, path: str, cuts: Sequence[SubsetCut]) -> ScoredPool:
    selection = tables.read_table(path, tables.SELECTION)
    name = files.name_of(path)
    swapped = _swapped(files.join(run_dir, "shards", name), selection["uid"])
    return part_of(selection, swapped, name.removesuffix(".parquet"), cuts)


def _swapped(shard: str, uids: pa.ChunkedArray) -> list[bool | None]:
    """What the shard's own boolean column ``swapped`` says of each uid; None where it has none."""
    if not files.exists(shard):
        return [None] * len(uids)
    with tables.open_parquet(shard) as parquet:
        types = {field.name: field.type for field in parquet.schema_arrow}
        if "uid" not in types or types.get("swapped") != pa.bool_():
            return [None] * len(uids)
        rows = parquet.read(columns=["uid", "swapped"])
    declared = dict(zip(rows["uid"].to_pylist(), rows["swapped"].to_pylist(), strict=True))
    return [declared.get(uid) for uid in uids.to_pylist()]


def _band(rows: pa.Table, file: str) -> Band:
    drawn = rows.sort_by([("sample_rank", "ascending"), ("uid", "ascending")]).slice(0, PAIRS_PER_BAND)
    declared = rows["swapped"].drop_null()
    return Band(len(rows), len(declared), pc.sum(declared).as_py() or 0, _pairs(drawn, file))


def _border(ranked: pa.Table, edge: int, file: str) -> Border:
    """The pairs around row ``edge`` of a table in rank order."""
    start = max(0, edge - PAIRS_PER_SIDE)
    above, below = ranked.slice(start, edge - start), ranked.slice(edge, PAIRS_PER_SIDE)
    return Border(_pairs(above, file), _pairs(below, file))


def _pairs(rows: pa.Table, file: str) -> tuple[ScoredPair, ...]:
    columns = rows.select(["uid", "similarity", "sample_rank", "swapped"]).to_pylist()
    return tuple(ScoredPair(**row, file=file) for row in columns)


def _sorted(pairs: tuple[ScoredPair, ...], key: Callable[[ScoredPair], tuple[float, str]]) -> tuple[ScoredPair, ...]:
    return tuple(sorted(pairs, key=key))
