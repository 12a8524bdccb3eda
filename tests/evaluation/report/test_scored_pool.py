"""Bands, borders and cuts against a plain sort of all pairs."""

from __future__ import annotations

from collections import Counter
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.evaluation.report.cuts import SubsetCut, read_cuts
from clipsieve.evaluation.report.scored_pool import PAIRS_PER_BAND, PAIRS_PER_SIDE, merge, part_of, read_pool
from clipsieve.schemas import tables
from clipsieve.schemas.errors import InputError

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "similarity": st.sampled_from([0.5, 0.25, 0.0, -0.0, -0.125]),  # many ties
            "reject_reason": st.sampled_from([None, None, None, "too_small", "language"]),
            "swapped": st.sampled_from([True, False, None]),
        }
    ),
    min_size=1,
    max_size=80,
)


@st.composite
def pools(draw):
    """Rows with uids, the sizes of two cuts of the eligible ones, and where the rows are split into files."""
    rows = draw(ROWS)
    order = draw(st.permutations(range(len(rows))))
    for number, row in zip(order, rows, strict=True):
        row.update(uid=f"{number:032x}", sample_rank=(number * 37 % 101) / 101)
    eligible = sum(row["reject_reason"] is None for row in rows)
    sizes = sorted(draw(st.lists(st.integers(1, max(1, eligible)), min_size=2, max_size=2)))
    return rows, [size for size in sizes if size <= eligible], draw(st.integers(0, len(rows)))


@settings(deadline=None)
@given(pools())
def test_bands_and_borders_equal_a_plain_sort_however_the_files_are_split(case):
    rows, sizes, split = case
    ranked = sorted(
        (row for row in rows if row["reject_reason"] is None),
        key=lambda row: (-row["similarity"], row["uid"]),
    )
    cuts = [_cut(ranked, size) for size in sizes]
    parts = [_part(rows[:split], "a", cuts), _part(rows[split:], "b", cuts)]
    pool = reduce(merge, parts)
    edges = [0, *sizes, len(ranked)]
    assert pool.rejected == Counter(row["reject_reason"] for row in rows if row["reject_reason"])
    assert (pool.eligible, pool.scored) == (len(ranked), len(rows))
    for i, band in enumerate(pool.bands):
        members = ranked[edges[i] : edges[i + 1]]
        declared = [row["swapped"] for row in members if row["swapped"] is not None]
        drawn = sorted(members, key=lambda row: (row["sample_rank"], row["uid"]))[:PAIRS_PER_BAND]
        assert (band.count, band.declared, band.swapped) == (len(members), len(declared), sum(declared))
        assert {pair.uid for pair in band.drawn} == {row["uid"] for row in drawn}
    for size, border in zip(sizes, pool.borders, strict=True):
        above, below = ranked[max(0, size - PAIRS_PER_SIDE) : size], ranked[size : size + PAIRS_PER_SIDE]
        assert [pair.uid for pair in border.above] == [row["uid"] for row in above]
        assert [pair.uid for pair in border.below] == [row["uid"] for row in below]


def test_of_tied_pairs_only_the_smaller_uids_are_members():
    cut = SubsetCut("top50", 50, 2, 0.5, "b" * 32)
    uid = np.array(["a" * 32, "b" * 32, "c" * 32, "d" * 32])
    assert cut.keeps(np.array([0.5, 0.5, 0.5, 0.75]), uid).tolist() == [True, True, False, True]


def test_cuts_are_read_from_the_narrowest_and_other_files_are_none(tmp_path):
    for name, members in {
        "top40": [(0.5, "a"), (0.25, "c"), (0.25, "b")],
        "top12.5": [(0.5, "a")],
        "top5": [],
        "top100": [(0.5, "a"), (0.125, "d")],
        "best": [(0.5, "a")],
    }.items():
        rows = [{"uid": uid * 32, "similarity": similarity, "quantile_rank": 0.0} for similarity, uid in members]
        table = pa.Table.from_pylist(rows, schema=tables.SUBSET.schema)
        tables.write_table(table, tables.SUBSET, str(tmp_path / f"{name}.parquet"))
    assert read_cuts(str(tmp_path)) == (
        SubsetCut("top12.5", 12.5, 1, 0.5, "a" * 32),
        SubsetCut("top40", 40.0, 3, 0.25, "c" * 32),
    )


def test_a_run_without_subsets_is_one_band(finished_run):
    pool = read_pool(str(finished_run), [])
    assert (len(pool.bands), pool.borders) == (1, ())
    assert pool.eligible == 55


def test_the_run_s_swapped_captions_are_counted(finished_run):
    pool = read_pool(str(finished_run), read_cuts(str(finished_run / "subsets")))
    assert [band.count for band in pool.bands] == [11, 11, 33]
    assert sum(band.swapped for band in pool.bands) == 12
    assert sum(band.declared for band in pool.bands) == 55


def test_without_an_eligible_pair_there_is_no_report(tmp_path):
    with pytest.raises(InputError, match="selection: no eligible pair"):
        read_pool(str(tmp_path), [])


def _part(rows, file, cuts):
    swapped = [row["swapped"] for row in rows]
    plain = [{key: value for key, value in row.items() if key != "swapped"} for row in rows]
    return part_of(pa.Table.from_pylist(plain, schema=tables.SELECTION.schema), swapped, file, cuts)


def _cut(ranked, size):
    last = ranked[size - 1]
    return SubsetCut(f"top{size}", 50, size, last["similarity"], last["uid"])
