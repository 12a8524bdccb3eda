from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.download.input import BATCH_ROWS, iter_batches
from clipsieve.pipelines.pairs.plan import naming, plan_shards
from clipsieve.pipelines.pairs.table import open_pairs
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.uid import uid_of


@settings(max_examples=20, deadline=None)
@given(st.data(), st.integers(1, 3 * BATCH_ROWS), st.integers(1, 2 * BATCH_ROWS), st.integers(1, 200))
def test_batches_hold_a_shards_rows_in_order_without_its_duplicates(tmp_path_factory, data, rows, shard_size, group):
    path = tmp_path_factory.mktemp("pairs") / "t.parquet"
    urls, captions = [f"u{row}" for row in range(rows)], [f"c{row}" for row in range(rows)]
    pq.write_table(pa.table({"n": range(rows), "url": urls, "text": captions}), path, row_group_size=group)
    table = open_pairs([str(path)])
    names = naming(9, shard_size)
    for plan in plan_shards(table.row_groups, shard_size):
        repeated = data.draw(st.sets(st.integers(0, plan.rows - 1)))
        batches = list(
            iter_batches(plan, np.array(sorted(repeated), np.int64), table.columns, names, load_opt_out(None))
        )
        kept = [row for row in range(plan.rows) if row not in repeated]
        got = pa.concat_tables(batch.rows for batch in batches)
        assert got.column_names == ["n", "caption", "url", "key", "uid"]
        assert got["n"].to_pylist() == [plan.start + row for row in kept]
        assert got["key"].to_pylist() == [names.key(plan.number, row) for row in kept]
        assert got["uid"].to_pylist() == [uid_of(urls[n], captions[n]) for n in got["n"].to_pylist()]
        assert [pair.url for batch in batches for pair in batch.pairs] == got["url"].to_pylist()
        starts = range(0, plan.rows, BATCH_ROWS)
        assert [len(batch.pairs) for batch in batches] == [
            sum(start <= row < start + BATCH_ROWS for row in kept) for start in starts
        ]


def test_a_pair_knows_its_hash_its_boxes_and_the_owners_wish(tmp_path):
    rows = {
        "url": ["http://a.example.org/1", "http://b.org/2", "http://c.org/3"],
        "caption": ["c"] * 3,
        "Sha256": ["AB" * 32, "", None],
        "faces": [[[0.0, 0.0, 0.5, 0.5]], [], None],
    }
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    (tmp_path / "wishes.txt").write_text(f"example.org\n{uid_of('http://c.org/3', 'c')}\n")
    table = open_pairs([str(tmp_path / "t.parquet")], "faces", sha256=True)
    (plan,) = plan_shards(table.row_groups, 3)
    opt_out = load_opt_out(str(tmp_path / "wishes.txt"))
    (batch,) = iter_batches(plan, np.array([], np.int64), table.columns, naming(1, 3), opt_out)
    assert [pair.sha256 for pair in batch.pairs] == ["ab" * 32, None, None]
    assert [pair.boxes for pair in batch.pairs] == [[[0.0, 0.0, 0.5, 0.5]], [], None]
    assert [pair.is_opted_out for pair in batch.pairs] == [True, False, True]
    assert batch.passed.names == ["Sha256", "faces"]
