"""Verdicts and their waterfall against numpy and against sets, counted whole or in pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.filters.verdicts import add, count_waterfall, tally, verdict_table, waterfall_of

REASONS = ["short", "dark", "odd"]
RULES = [(reason, f"not {reason}") for reason in REASONS]

rejections = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=40).map(
    lambda rows: np.array(rows, bool).reshape(-1, 3)
)


@given(rejections)
def test_the_first_rule_that_rejects_is_the_reason(rejected: np.ndarray) -> None:
    uids = pa.array([f"{row:032x}" for row in range(len(rejected))], pa.string())
    table = verdict_table(uids, REASONS, rejected)
    assert table.schema.names == ["uid", "reject_reason", *REASONS]
    assert table["uid"].to_pylist() == uids.to_pylist()
    for row, flags in zip(table.to_pylist(), rejected.tolist(), strict=True):
        assert [row[reason] for reason in REASONS] == flags
        assert row["reject_reason"] == next((r for r, flag in zip(REASONS, flags, strict=True) if flag), None)


@given(rejections, st.integers(0, 40))
def test_counts_are_those_of_sets(rejected: np.ndarray, cut: int) -> None:
    waterfall = waterfall_of(add([tally(rejected[:cut]), tally(rejected[cut:])]), RULES)
    removed = [set(np.flatnonzero(rejected[:, rule]).tolist()) for rule in range(3)]
    assert waterfall.pairs == len(rejected)
    assert waterfall.kept == len(rejected) - len(set().union(*removed))
    for place, rule in enumerate(waterfall.rules):
        earlier = set().union(*removed[:place])
        others = set().union(*(removed[other] for other in range(3) if other != place))
        assert (rule.reason, rule.text) == RULES[place]
        assert rule.alone == len(removed[place])
        assert rule.in_order == len(removed[place] - earlier)
        assert rule.only == len(removed[place] - others)
        assert list(rule.both) == [len(removed[place] & other) for other in removed]


def test_files_are_counted_as_their_rows_together(tmp_path: Path) -> None:
    rejected = np.random.default_rng(0).random((1000, 3)) < 0.3
    uids = pa.array([f"{row:032x}" for row in range(1000)])
    for name, rows in (("a", slice(0, 300)), ("b", slice(300, 300)), ("c", slice(300, 1000))):
        pq.write_table(verdict_table(uids[rows], REASONS, rejected[rows]), tmp_path / f"{name}.parquet")
    paths = [str(path) for path in sorted(tmp_path.glob("*.parquet"))]
    assert count_waterfall(paths, RULES) == waterfall_of(tally(rejected), RULES)
