"""Tables that are refused, each through the real command, with one line that says what to fix."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from clipsieve.schemas.manifest import read_manifest
from tests.integration.bad_tables.files import NOBODY, UID, parquet, text, undecodable

REFUSED_TABLES = {
    "a list for a URL": ({"url": [[NOBODY]], "caption": ["c"]}, r"column 'url' is not UTF-8 text"),
    "a struct for a URL": ({"url": [{"href": NOBODY}], "caption": ["c"]}, r"column 'url' is not UTF-8 text"),
    "a list for a caption": ({"url": [NOBODY], "caption": [["c"]]}, r"column 'caption' is not UTF-8 text"),
    "text that is not UTF-8": (
        {"url": [NOBODY] * 2, "caption": undecodable(b"fine", b"\xff\xfe")},
        r"row 2: column 'caption' is not UTF-8 text",
    ),
    "bytes that are not UTF-8": (
        {"url": [b"http://fine", b"http://\xff"], "caption": ["c"] * 2},
        r"row 2: column 'url' is not UTF-8 text",
    ),
    "no rows": ({"url": pa.array([], pa.string()), "caption": pa.array([], pa.string())}, r"the table has no rows"),
    "no columns": ({}, r"column 'url' is missing"),
    "no captions": ({"url": [NOBODY], "title": ["c"]}, r"column 'caption' is missing .*it has: url, title"),
    "two columns of one name": (
        pa.table([pa.array(["u"]), pa.array(["u"]), pa.array(["c"])], names=["url", "url", "caption"]),
        r"two columns would be named 'url'; rename one",
    ),
    "an extra column that takes a name of ours": (
        {"url": [NOBODY], "caption": ["c"], "width": [1], "source_width": [1]},
        r"two columns would be named 'source_width'; rename one",
    ),
    "a uid in capitals": (
        {"url": ["u", "v"], "caption": ["c"] * 2, "uid": [UID, UID.upper()]},
        r"row 2: uid '0123456789ABCDEF0123456789ABCDEF' is not 32 hex digits in lower case; fix it",
    ),
    "a short uid": ({"url": ["u"], "caption": ["c"], "uid": ["17"]}, r"row 1: uid '17' is not 32 hex digits"),
    "a null uid": ({"url": ["u"], "caption": ["c"], "uid": [None]}, r"row 1: uid .* is not 32 hex digits"),
    "a short sha256": ({"url": ["u"], "caption": ["c"], "sha256": ["ab"]}, r"row 1: sha256 'ab' is not 64 hex digits"),
    "a sha256 that is a number": (
        {"url": ["u"], "caption": ["c"], "sha256": [17]},
        r"column 'sha256' is int64, not text",
    ),
    "a uid that is a number": ({"url": ["u"], "caption": ["c"], "uid": [17]}, r"row 1: uid '17' is not 32 hex digits"),
}


def one_line_about(ended, path: Path, reason: str) -> None:
    """Exit status 2, and nothing but progress before the one line that names the file and the reason."""
    *progress, message = ended.err.splitlines()
    assert (ended.status, ended.out) == (2, "")
    assert re.fullmatch(rf"clipsieve: {re.escape(str(path))}: .*?{reason}.*", message), ended.err
    assert all(line.startswith("download: ") for line in progress), ended.err


@pytest.mark.parametrize("name", REFUSED_TABLES)
def test_a_parquet_that_cannot_be_read_as_pairs_is_refused(download, tmp_path, name):
    columns, reason = REFUSED_TABLES[name]
    path = parquet(tmp_path, columns)
    one_line_about(download(path), path, reason)
    assert read_manifest(str(tmp_path / "shards")) is None
    assert list(tmp_path.glob("shards/*.*")) == []


REFUSED_TEXTS: dict[str, tuple[str, str | bytes, str]] = {
    "row too long": ("t.csv", "url,caption\na,b\nc,d,e\n", r"Row #3"),
    "row too short": ("t.tsv", "url\tcaption\na\tb\nc\n", r"Row #3"),
    "csv not UTF-8": ("t.csv", b"url,caption\na,b\nc,\xff\n", r"Row #3"),
    "csv header alone": ("t.csv", "url,caption\n", r"the table has no rows"),
    "csv of nothing": ("t.csv", "", r"Empty CSV file"),
    "csv of one name twice": ("t.csv", "url,url,caption\na,b,c\n", r"two columns would be named 'url'"),
    "csv in UTF-16": ("t.csv", "url,caption\na,b\n".encode("utf-16"), r"'utf-8' codec can't decode"),
    "jsonl with a broken line": ("t.jsonl", '{"url": "a", "caption": "b"}\n{"url": "a"\n', r"row 2: not a JSON object"),
    "jsonl of lists": ("t.jsonl", '["a", "b"]\n', r"row 1: not a JSON object in UTF-8 \(a JSON list, not an object\)"),
    "jsonl not UTF-8": ("t.jsonl", b'{"url": "a", "caption": "\xff"}\n', r"row 1: not a JSON object in UTF-8"),
    "jsonl of nothing": ("t.jsonl", "", r"column 'url' is missing"),
    "jsonl of one JSON array": ("t.jsonl", '[\n{"url": "a", "caption": "b"}\n]\n', r"row 1: not a JSON object"),
    "a web page": ("t.parquet", "<!doctype html><title>404</title>", r"not a readable Parquet file"),
    "nothing": ("t.parquet", "", r"not a readable Parquet file"),
}


@pytest.mark.parametrize("name", REFUSED_TEXTS)
def test_a_text_that_cannot_be_read_as_pairs_is_refused(download, tmp_path, name):
    file, content, reason = REFUSED_TEXTS[name]
    path = text(tmp_path, file, content)
    one_line_about(download(path), path, reason)
    assert list(tmp_path.glob("shards/*.*")) == []


def test_a_truncated_parquet_is_refused_wherever_it_ends(download, tmp_path):
    whole = parquet(tmp_path, {"url": [f"{NOBODY}?{n}" for n in range(1_000)], "caption": ["c"] * 1_000}).read_bytes()
    for share in (0.0, 0.1, 0.5, 0.99):
        path = text(tmp_path, "t.parquet", whole[: int(len(whole) * share)])
        one_line_about(download(path), path, "not a readable Parquet file")


def test_a_parquet_damaged_inside_is_refused_by_the_worker_that_meets_it(download, tmp_path):
    path = parquet(tmp_path, {"url": [f"{NOBODY}?{n}" for n in range(1_000)], "caption": ["c"] * 1_000})
    data = bytearray(path.read_bytes())
    data[4:2_000] = bytes(1_996)
    path.write_bytes(data)
    one_line_about(download(path), path, "not a readable Parquet file")


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.jsonl"])
def test_a_parquet_under_the_name_of_a_text_is_refused(download, tmp_path, name):
    path = parquet(tmp_path, {"url": [NOBODY], "caption": ["c"]}, name)
    one_line_about(download(path), path, "is a Parquet file; name it .parquet")


@pytest.mark.parametrize("name", ["pairs", "pairs.pq", "pairs.parquet.1"])
def test_a_parquet_under_any_other_name_is_read(rows_of, tmp_path, name):
    rows = rows_of(parquet(tmp_path, {"url": ["u"], "caption": ["c"]}, name))
    assert [row["caption"] for row in rows] == ["c"]


def test_a_folder_of_tables_that_differ_is_refused(download, tmp_path):
    (tmp_path / "parts").mkdir()
    parquet(tmp_path / "parts", {"url": ["u"], "caption": ["c"], "n": [1]}, "a.parquet")
    other = parquet(tmp_path / "parts", {"url": ["u"], "caption": ["c"], "n": ["1"]}, "b.parquet")
    one_line_about(download(tmp_path / "parts"), other, "column 'n' is string, but int64 in .*a.parquet; cast it")
    other.unlink()
    (tmp_path / "parts" / "a.parquet").rename(tmp_path / "parts" / "a.txt")
    one_line_about(download(tmp_path / "parts"), tmp_path / "parts", "no .parquet file in this folder; it has a.txt")


@pytest.mark.parametrize("name", ["pairs.parquet", "pairs.jsonl"])
def test_names_for_columns_that_have_names_are_refused(download, tmp_path, name):
    path = parquet(tmp_path, {"url": [NOBODY], "caption": ["c"]})
    if name.endswith(".jsonl"):
        path = text(tmp_path, name, '{"url": "a", "caption": "b"}\n')
    ended = download(path, "--columns", "caption,url")
    one_line_about(ended, path, "its columns have names; --columns is for a CSV or TSV that has no header")


def test_a_list_of_urls_says_that_it_has_no_captions(download, tmp_path):
    path = text(tmp_path, "urls.txt", f"{NOBODY}\n")
    one_line_about(download(path), path, "a list of URLs has no captions; .* a header or --columns")
