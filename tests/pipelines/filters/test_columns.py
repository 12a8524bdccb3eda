"""Columns from score files, from shards and computed: joined by uid, as DataComp's formulas have them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.filters.columns import PairColumns
from clipsieve.pipelines.filters.signals import SIGNALS
from clipsieve.schemas.errors import InputError
from tests.pipelines.filters.filter_pool import pair, write_pool


def test_columns_are_joined_by_uid_and_computed(tmp_path: Path) -> None:
    rows = [pair(number, original_width=100 * number) for number in range(1, 6)]
    rows[2]["caption"] = None
    scores, shards = write_pool(tmp_path, rows, files=1)
    names = ["similarity", "original_width", "shorter_side", "aspect_ratio", "caption_chars", "caption_words"]
    batch = PairColumns(shards).read(f"{scores}/00000.parquet", names).batch
    assert batch.schema.names == ["uid", *names]
    assert batch["uid"].to_pylist() == [row["uid"] for row in rows]
    assert batch["original_width"].to_pylist() == [100, 200, 300, 400, 500]
    assert batch["shorter_side"].to_pylist() == [100, 200, 300, 400, 480]
    assert batch["aspect_ratio"].to_pylist() == [4.8, 2.4, 1.6, 1.2, 500 / 480]
    captions = [row["caption"] or "" for row in rows]
    assert batch["caption_chars"].to_pylist() == [len(caption) for caption in captions]
    assert batch["caption_words"].to_pylist() == [len(caption.split()) for caption in captions]


@given(st.lists(st.tuples(st.text(max_size=30), st.integers(1, 9000), st.integers(1, 9000)), min_size=1, max_size=20))
def test_signals_are_datacomps_formulas(rows: list[tuple[str, int, int]]) -> None:
    captions, widths, heights = (list(column) for column in zip(*rows, strict=True))
    sizes = pa.array(widths, pa.int32()), pa.array(heights, pa.int32())
    texts = pa.array([caption.encode("utf-8", "replace").decode() for caption in captions], pa.string())
    shorter = [min(width, height) for _, width, height in rows]
    assert SIGNALS["shorter_side"].compute(*sizes).to_pylist() == shorter
    ratios = [max(width, height) / min(width, height) for _, width, height in rows]
    assert SIGNALS["aspect_ratio"].compute(*sizes).to_pylist() == ratios
    assert SIGNALS["caption_words"].compute(texts).to_pylist() == [len(text.split()) for text in texts.to_pylist()]


def test_datacomps_metadata_needs_no_shards(tmp_path: Path) -> None:
    metadata = {"uid": ["0" * 32], "text": ["two words"], "original_width": [300], "original_height": [None]}
    pq.write_table(pa.table(metadata), tmp_path / "m.parquet")
    batch = PairColumns(None).read(str(tmp_path / "m.parquet"), ["caption", "caption_words", "shorter_side"]).batch
    assert batch.to_pylist() == [{"uid": "0" * 32, "caption": "two words", "caption_words": 2, "shorter_side": None}]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    rows = [pair(number) for number in range(4)]
    scores, shards = write_pool(tmp_path, rows, files=1)
    path = f"{scores}/00000.parquet"
    with pytest.raises(InputError, match=r"column 'phash' is missing, and .*scores/00000.parquet lacks it too"):
        PairColumns(shards).read(path, ["phash"])
    with pytest.raises(InputError, match="column 'caption' is missing; name the folder that has it with --shards"):
        PairColumns(None).read(path, ["language"])
    foreign = pq.read_table(path).to_pylist()
    foreign[2]["uid"] = "f" * 32
    pq.write_table(pa.Table.from_pylist(foreign), path)
    with pytest.raises(InputError, match="row 3: its uid is not in"):
        PairColumns(shards).read(path, ["caption"])
