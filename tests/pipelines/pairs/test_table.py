from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.pairs.plan import Slice, plan_shards
from clipsieve.pipelines.pairs.table import Columns, find_columns, iter_rows, open_pairs, parquet_files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.uid import uid_of

LAION = ["SAMPLE_ID", "URL", "TEXT", "HEIGHT", "WIDTH", "LICENSE", "NSFW", "similarity"]
COYO = ["id", "url", "text", "width", "height", "image_phash", "clip_similarity_vitb32"]
DATACOMP = ["uid", "url", "text", "original_width", "original_height", "clip_b32_similarity_score", "sha256"]


def write(path, rows, **options):
    pq.write_table(pa.table(rows), path, **options)
    return str(path)


def read(paths, with_extra=True, **wanted):
    table = open_pairs(paths, **wanted)
    (plan,) = plan_shards(table.row_groups, table.rows)
    return pa.concat_tables(iter_rows(plan.slices, table.columns, with_extra))


def test_published_tables_are_read_as_they_are():
    laion, coyo, datacomp = (find_columns(names, "x") for names in (LAION, COYO, DATACOMP))
    assert (laion.url, laion.caption, laion.uid) == ("URL", "TEXT", None)
    assert dict(laion.extra)["WIDTH"] == "WIDTH"
    assert (coyo.url, coyo.caption) == ("url", "text")
    assert dict(coyo.extra)["width"] == "source_width"
    assert (datacomp.uid, dict(datacomp.extra)["sha256"]) == ("uid", "source_sha256")
    assert dict(datacomp.extra)["clip_b32_similarity_score"] == "clip_b32_similarity_score"


def test_an_exact_name_goes_before_one_in_another_case():
    columns = find_columns(["Url", "url", "Text", "alt"], "x")
    assert columns == Columns("url", "alt", None, (("Url", "Url"), ("Text", "Text")))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["link", "caption"], ["t.parquet", "'url'", "it has: link, caption"]),
        (["url", "title"], ["t.parquet", "'caption'", "text, TEXT, alt", "it has: url, title"]),
        (["url", "caption", "width", "source_width"], ["t.parquet", "two columns", "'source_width'"]),
        (["url", "url", "caption"], ["two columns", "'url'"]),
    ],
)
def test_columns_that_cannot_be_told_apart_are_refused(names, words):
    with pytest.raises(InputError) as error:
        find_columns(names, "t.parquet")
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


@settings(max_examples=25, deadline=None)
@given(st.data(), st.integers(1, 60), st.integers(1, 20), st.integers(1, 17))
def test_slices_read_the_rows_that_they_name(tmp_path_factory, data, rows, group, shard_size):
    path = tmp_path_factory.mktemp("pairs") / "t.parquet"
    texts = data.draw(st.lists(st.none() | st.text(max_size=5), min_size=rows, max_size=rows))
    schema = pa.schema([("url", pa.string()), ("text", pa.string()), ("n", pa.int64())])
    columns = {"url": texts, "text": texts[::-1], "n": list(range(rows))}
    pq.write_table(pa.table(columns, schema), path, row_group_size=group)
    table = open_pairs([str(path)])
    filled = [text or "" for text in texts]
    for plan in plan_shards(table.row_groups, shard_size):
        got = pa.concat_tables(iter_rows(plan.slices, table.columns))
        here = range(plan.number * shard_size, min(rows, (plan.number + 1) * shard_size))
        assert got["n"].to_pylist() == list(here)
        assert got["url"].to_pylist() == [filled[row] for row in here]
        assert got["caption"].to_pylist() == [filled[::-1][row] for row in here]


def test_a_folder_is_read_in_name_order(tmp_path):
    for name in ("b", "a", "c.PARQUET"):
        write(tmp_path / (name if "." in name else f"{name}.parquet"), {"url": [name], "caption": [name]})
    (tmp_path / "notes.txt").write_text("not a table")
    assert read(parquet_files(str(tmp_path)))["url"].to_pylist() == ["a", "b", "c.PARQUET"]


UIDS = [bytes(range(16)), b"\xff" * 16]
BINARY_UIDS = (
    pa.array(UIDS, pa.binary(16)),
    pa.array(UIDS, pa.binary()),
    pa.array(UIDS, pa.large_binary()),
    pa.array(UIDS, pa.binary_view()),
    pa.ExtensionArray.from_storage(pa.uuid(), pa.array(UIDS, pa.binary(16))),
    pa.array([uid.hex().encode() for uid in UIDS]),
)


@pytest.mark.parametrize("uids", BINARY_UIDS, ids=lambda uids: str(uids.type))
def test_uids_of_16_bytes_are_their_hex_digits(tmp_path, uids):
    rows = read([write(tmp_path / "t.parquet", {"uid": uids, "url": ["u"] * 2, "caption": ["c"] * 2})])
    assert rows["uid"].to_pylist() == [uid.hex() for uid in UIDS]


@pytest.mark.parametrize("uids", [[None, b"x" * 16], [b"x" * 15, b"x" * 16], [b"x" * 17] * 2, [b"", None]])
def test_uids_of_other_bytes_are_named_by_row(tmp_path, uids):
    path = write(tmp_path / "t.parquet", {"uid": pa.array(uids), "url": ["u"] * 2, "caption": ["c"] * 2})
    with pytest.raises(InputError, match=r"t\.parquet: row 1: uid .* is not 32 hex digits"):
        read([path])


@pytest.mark.parametrize("missing", [float("nan"), None])
@pytest.mark.parametrize("dtype", [pa.float16(), pa.float32(), pa.float64()])
def test_a_caption_that_pandas_left_as_nan_is_missing(tmp_path, missing, dtype):
    captions = pa.array([missing, 1.5], dtype, from_pandas=False)
    rows = read([write(tmp_path / "t.parquet", {"url": ["u"] * 2, "caption": captions})])
    assert rows["caption"].to_pylist() == ["", "1.5"]


def test_an_empty_folder_or_table_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no \.parquet file in this folder$"):
        parquet_files(str(tmp_path))
    (tmp_path / "part-0.csv.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"no \.parquet file in this folder; it has part-0\.csv\.gz: give one file"):
        parquet_files(str(tmp_path))
    empty = pa.table({"url": pa.array([], pa.string()), "caption": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: the table has no rows"):
        open_pairs([str(tmp_path / "t.parquet")])


def test_only_what_the_uid_needs_is_read_without_the_rest(tmp_path):
    path = write(tmp_path / "t.parquet", {"url": ["u"], "caption": ["c"], "n": [1]})
    rows = read([path], with_extra=False)
    assert rows.schema.names == ["uid", "url", "caption"]
    assert rows["uid"].to_pylist() == [uid_of("u", "c")]


def test_hashes_are_looked_for_when_wanted_and_checked_before_any_row_is_asked_for(tmp_path):
    good, other = "ab" * 32, "CD" * 32
    rows = {"url": ["u"] * 4, "caption": ["c"] * 4, "SHA256": [good, None, "", other]}
    path = write(tmp_path / "t.parquet", rows)
    assert open_pairs([path]).columns.sha256 is None
    columns = open_pairs([path], sha256=True).columns
    assert (columns.sha256, columns.kept_as(columns.sha256)) == ("SHA256", "SHA256")
    assert len(read([path], sha256=True, with_extra=False)) == 4
    for bad in ("ab" * 31, "zz" * 32, "sha256:" + good):
        path = write(tmp_path / "t.parquet", rows | {"SHA256": [good, None, bad, other]}, row_group_size=1)
        with pytest.raises(InputError, match=r"t\.parquet: row 3: SHA256 .* is not 64 hex digits; fix it, or rename"):
            read([path], sha256=True, with_extra=False)
        assert len(read([path], with_extra=False)) == 4
    path = write(tmp_path / "t.parquet", rows | {"SHA256": [1, 2, 3, 4]})
    with pytest.raises(InputError, match=r"t\.parquet: column 'SHA256' is int64, not text"):
        open_pairs([path], sha256=True)


@pytest.mark.parametrize("dtype", [pa.list_(pa.list_(pa.float64())), pa.large_list(pa.list_(pa.float32(), 4))])
def test_boxes_are_lists_of_lists_of_numbers(tmp_path, dtype):
    boxes = pa.array([[[0.0, 0.25, 0.5, 1.0]], None], dtype)
    path = write(tmp_path / "t.parquet", {"url": ["u"] * 2, "caption": ["c"] * 2, "faces": boxes, "flat": [[1], [2]]})
    columns = open_pairs([path], "faces").columns
    assert columns.kept_as(columns.boxes) == "faces"
    with pytest.raises(InputError, match=r"t\.parquet: `bbox_col` 'flat' is list<.*int64>, not a list of lists"):
        open_pairs([path], "flat")
    for absent in ("Faces", "url"):
        with pytest.raises(InputError, match=rf"t\.parquet: `bbox_col` '{absent}' is not one of .*: faces, flat"):
            open_pairs([path], absent)


@pytest.mark.parametrize("uid", ["", "z" * 32, "A" * 32, "0" * 31, None])
def test_a_uid_that_is_none_is_named_by_file_and_row(tmp_path, uid):
    rows = {"uid": ["0" * 32, uid, "1" * 32], "url": ["u"] * 3, "caption": ["c"] * 3}
    with pytest.raises(InputError, match=r"t\.parquet: row 2: uid .* is not 32 hex digits"):
        read([write(tmp_path / "t.parquet", rows, row_group_size=1)])


def test_text_that_is_not_utf8_is_named_by_file_row_and_column(tmp_path):
    raw = pa.array([b"fine", b"fine", b"\xff\xfe", b"fine"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    path = write(tmp_path / "t.parquet", {"url": ["u"] * 4, "caption": broken})
    with pytest.raises(InputError, match=r"t\.parquet: row 3: column 'caption' is not UTF-8"):
        read([path])


def test_a_column_that_holds_no_text_is_refused(tmp_path):
    path = write(tmp_path / "t.parquet", {"url": [["a", "list"]], "caption": ["c"]})
    with pytest.raises(InputError, match=r"t\.parquet: .*'url'"):
        read([path])


def test_a_slice_reads_no_row_group_outside_it(tmp_path):
    path = write(tmp_path / "t.parquet", {"url": list("abcdef"), "caption": list("abcdef")}, row_group_size=2)
    table = open_pairs([path])
    damaged = bytearray((tmp_path / "t.parquet").read_bytes())
    first = pq.ParquetFile(path).metadata.row_group(0)
    end = 4 + first.total_byte_size // 2
    damaged[4:end] = bytes(end - 4)
    (tmp_path / "t.parquet").write_bytes(damaged)
    (rows,) = iter_rows([Slice(path, 3, 2)], table.columns)
    assert rows["url"].to_pylist() == ["d", "e"]
    with pytest.raises(InputError, match=r"t\.parquet: not a readable Parquet file"):
        list(iter_rows([Slice(path, 1, 1)], table.columns))
