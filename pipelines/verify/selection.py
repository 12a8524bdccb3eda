"""Selection, subsets and samples: what a plain sort of the whole table says, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.pipelines.select.plan import STRATA
from clipsieve.pipelines.select.thresholds import equal_shares, hash_of, unit_interval
from clipsieve.pipelines.verify.checks import (
    Check,
    expect,
    expect_equal,
    expect_parts,
    expect_same_members,
    finished_manifest,
)
from clipsieve.pipelines.verify.shards import expect_unique
from clipsieve.schemas import files, tables
from clipsieve.schemas.counts import MemberCounts, SelectionCounts
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.members import as_raw, as_strings, find, read_members
from clipsieve.schemas.options import SelectOptions, parse_combination
from clipsieve.schemas.sizes import size_name
from clipsieve.schemas.uid import uid_bytes

_Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class RankedSelection:
    """A whole selection, best pair first; 36 bytes a pair."""

    uids: np.ndarray
    """bytes[N] of 16"""
    similarity: np.ndarray
    """float32[N]"""
    quantile: np.ndarray
    """float64[N]"""
    hashes: np.ndarray
    """uint64[N]"""
    selected_from: int
    """How many pairs were eligible when it was made; more than there are now where takedowns removed some."""

    def before(self, rank: int) -> int:
        """How many of the pairs now there had a rank below ``rank``."""
        return int(np.searchsorted(self.quantile, rank / max(1, self.selected_from)))

    @property
    def described(self) -> str:
        gone = self.selected_from - len(self.uids)
        return f"{self.selected_from:,}" + (f" but {gone:,} taken down since" if gone else "")


def check_selection(folder: str, scores: str) -> tuple[Check, RankedSelection]:
    """What `select` wrote for every pair; held against the folder ``scores`` where that is there."""
    found = finished_manifest(folder)
    expect_parts(folder, found)
    seed = found.options(SelectOptions).seed
    paths = files.list_files(folder, ".parquet")
    tables_read = [_read(path, seed) for path in paths]
    ranked = _rank([eligible for eligible, _ in tables_read], found)
    uids = np.concatenate([ranked.uids, *(rejected for _, rejected in tables_read)])
    expect_unique(uids, folder)
    pairs = len(uids)
    counts = found.counted(SelectionCounts)
    for what, counted, number in (
        ("pairs", counts.pairs, pairs),
        ("eligible", counts.eligible, len(ranked.uids)),
    ):
        expect(counted == number, f"{folder}: its manifest counts {counted} {what}, not {number}")
    expect(
        (np.diff(ranked.quantile) >= 0).all(),
        f"{folder}: a pair of lower similarity has a better quantile_rank",
    )
    if not files.exists(scores):
        return Check("selection", f"{pairs:,} pairs in order; the scores are not there to compare with"), ranked
    _compare_with_scores(paths, scores, found.options(SelectOptions).score_column)
    return Check("selection", f"{pairs:,} pairs, exactly those scored, with their similarity, in order"), ranked


def check_subsets(folder: str, ranked: RankedSelection) -> Check:
    """``topQ`` are the ⌊N·Q/100⌋ best pairs, ties to the smaller uid; where takedowns removed some, those left."""
    found = finished_manifest(folder)
    expect_parts(folder, found)
    members, counts = found.counted(MemberCounts).members, []
    for percent in found.options(SelectOptions).fractions:
        name, size = f"top{percent:g}", ranked.selected_from * round(percent * 100) // 10_000
        best = np.arange(ranked.before(size))
        most_gone = ranked.selected_from - len(ranked.uids)
        expect(
            size - most_gone <= len(best) <= size, f"{folder}: quantile_rank has {len(best)} pairs in {name}'s {size}"
        )
        _check_members(folder, name, ranked, best)
        expect(members.get(name) == len(best), f"{folder}: its manifest counts {members.get(name)} in {name}")
        counts.append(f"{name} {len(best):,}")
    return Check(
        "subsets", f"{', '.join(counts)}: exactly the best of {ranked.described}, nested; npy and Parquet agree"
    )


def check_samples(folder: str, ranked: RankedSelection) -> Check:
    """A sample takes as many pairs of each twentieth of its pool's ranking, those of the smallest hash; where takedowns
    removed some of them, those left."""
    found = finished_manifest(folder)
    expect_parts(folder, found)
    counts = []
    options = found.options(SelectOptions)
    wanted = {size_name(size): (100.0, size) for size in options.sizes}
    wanted |= {name: parse_combination(name) for name in options.combinations}
    for name, (percent, size) in wanted.items():
        pool = ranked.selected_from * round(percent * 100) // 10_000
        members = read_members(files.join(folder, f"{name}.npy"))
        drawn = np.concatenate([np.zeros(0, np.int64), *_draw(ranked, pool, size, members)])
        _check_members(folder, name, ranked, drawn)
        counts.append(name)
    return Check("samples", f"{', '.join(counts)}: exact, nested, in equal shares of every stratum of quality")


def _draw(ranked: RankedSelection, pool: int, size: int, members: np.ndarray) -> Iterator[np.ndarray]:
    """The places of a sample's pairs by stratum. Each has its share of them; where pairs of it are gone, as many as
    ``members``, bytes[M] of 16, ascending, has, but no fewer than if all of them had been drawn."""
    end = 0
    for in_stratum, wanted in zip(equal_shares(pool, STRATA), equal_shares(size, STRATA), strict=True):
        start, end = end, end + in_stratum
        stratum = np.arange(ranked.before(start), ranked.before(end))
        gone = in_stratum - len(stratum)
        held = int(find(members, as_raw(ranked.uids[stratum])).sum())
        drawn = min(wanted, max(held, wanted - gone))
        yield stratum[np.lexsort((ranked.uids[stratum], ranked.hashes[stratum]))[:drawn]]


def _check_members(folder: str, name: str, ranked: RankedSelection, places: np.ndarray) -> None:
    """A subset's npy and Parquet hold the pairs at ``places`` of the ranking, with their similarity."""
    npy, parquet = files.join(folder, f"{name}.npy"), files.join(folder, f"{name}.parquet")
    places = places[np.argsort(ranked.uids[places])]
    expect_same_members(read_members(npy), ranked.uids[places], npy)
    rows = tables.read_table(parquet, tables.SUBSET)
    uids = as_strings(uid_bytes(rows["uid"]))
    order = np.argsort(uids)
    expect_same_members(uids[order], ranked.uids[places], parquet)
    for column, expected in (("similarity", ranked.similarity), ("quantile_rank", ranked.quantile)):
        wrong = rows[column].to_numpy()[order] != expected[places]
        row = int(order[np.argmax(wrong)]) + 1 if len(wrong) else 0
        expect(not wrong.any(), f"{parquet}: row {row}: {column} is not the selection's")


def _read(path: str, seed: int) -> tuple[_Rows, np.ndarray]:
    """The eligible rows of a file, as the columns of `RankedSelection`, and the uids of the others, bytes[M] of 16."""
    rows = tables.read_table(path, tables.SELECTION)
    uids = uid_bytes(rows["uid"])
    hashes = hash_of(uids, seed)
    expect_equal(rows["sample_rank"].to_pylist(), unit_interval(hashes).tolist(), path, "sample_rank")
    is_eligible = np.array(pc.and_(rows["reject_reason"].is_null(), rows["duplicate_of"].is_null()), bool)
    similarity, quantile = (rows[name].to_numpy() for name in ("similarity", "quantile_rank"))
    odd = np.isnan(quantile) == is_eligible
    expect(not odd.any(), f"{path}: row {int(np.argmax(odd)) + 1 if len(odd) else 0}: reject_reason or quantile_rank")
    rows_of = (as_strings(uids)[is_eligible], similarity[is_eligible], quantile[is_eligible], hashes[is_eligible])
    return rows_of, as_strings(uids)[~is_eligible]


def _rank(pieces: list[_Rows], found: Manifest) -> RankedSelection:
    uids, similarity, quantile, hashes = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
    order = np.lexsort((uids, -similarity))
    before = found.takedowns[0].counts if found.takedowns else None
    first = before.eligible if isinstance(before, SelectionCounts) else len(uids)
    return RankedSelection(uids[order], similarity[order], quantile[order], hashes[order], first)


def _compare_with_scores(paths: list[str], scores: str, score_column: str) -> None:
    names = [files.name_of(path) for path in paths]
    expect_equal(names, [files.name_of(path) for path in files.list_files(scores, ".parquet")], scores, "file")
    for path, name in zip(paths, names, strict=True):
        selected = tables.read_table(path, tables.SELECTION, ["uid", "similarity"])
        scored = tables.read_table(files.join(scores, name), tables.SCORES, ["uid", score_column])
        expect_equal(selected["uid"].to_pylist(), scored["uid"].to_pylist(), path, "uid")
        similarity = scored[score_column].cast(pa.float32()).to_pylist()
        expect_equal(selected["similarity"].to_pylist(), similarity, path, "similarity")
