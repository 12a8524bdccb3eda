from __future__ import annotations

import csv
import io
import json

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.pairs.formats import text_format
from clipsieve.pipelines.pairs.text import text_to_parquet
from clipsieve.schemas.errors import InputError

# Python's csv module ends a row at a carriage return; no table holds NUL or half a surrogate pair.
cells = st.text(st.characters(blacklist_characters="\0\r", blacklist_categories=["Cs"]), max_size=8)
rows = st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=20)


def convert(folder, name, content, columns=()):
    source, target = folder / name, folder / "copy.parquet"
    source.write_bytes(content.encode() if isinstance(content, str) else content)
    form = text_format(str(source))
    assert form is not None
    text_to_parquet(str(source), form, str(target), columns)
    return pq.read_table(target).to_pylist()


@settings(max_examples=40, deadline=None)
@given(rows, st.sampled_from([("t.csv", ","), ("t.tsv", "\t")]))
def test_csv_is_read_as_pythons_csv_module_reads_it(tmp_path_factory, rows, kind):
    name, delimiter = kind
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("url", "caption", "n"), *rows])
    text.seek(0)
    header, *expected = csv.reader(text, delimiter=delimiter)
    got = convert(tmp_path_factory.mktemp("csv"), name, text.getvalue())
    assert got == [dict(zip(header, row, strict=True)) for row in expected]


values = st.none() | st.booleans() | st.integers() | cells | st.lists(st.integers(), max_size=2)
objects = st.dictionaries(st.sampled_from(["n", "extra", "é"]), values)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(cells, cells, objects), min_size=1, max_size=20))
def test_jsonl_keeps_strings_and_the_json_of_other_values(tmp_path_factory, rows):
    lines = [{"url": url, "caption": caption, **more} for url, caption, more in rows]
    text = "\n".join(json.dumps(line) for line in lines)
    got = convert(tmp_path_factory.mktemp("jsonl"), "t.jsonl", text)
    for line, row in zip(lines, got, strict=True):
        assert row["url"] == line["url"]
        for name in ("n", "extra", "é"):
            value = line.get(name)
            kept = row.get(name)
            assert kept == value if isinstance(value, str) or value is None else json.loads(kept) == value


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("t.csv", "url,caption\na,b\nc,d,e\n", "Row #3"),
        ("t.csv", "url,caption\na,b\nc\n", "Row #3"),
        ("t.csv", b"url,caption\na,b\nc,\xff\n", "Row #3"),
        ("t.csv", "url,caption,uid\na,b," + "0" * 32 + "\na,b,17\n", "row 3: uid '17'"),
        ("t.csv", "", "Empty CSV file"),
        ("t.tsv", "url\ttitle\na\tb\n", "column 'caption' is missing"),
        ("t.jsonl", '{"url": "a", "caption": "b"}\n[1]\n', "row 2: .*a JSON list, not an object"),
        ("t.jsonl", '{"url": "a", "caption": "b"}\n{"url":\n', "row 2: not a JSON object"),
        ("t.jsonl", b'{"url": "a", "caption": "b"}\n{"url": "\xff"}\n', "row 2: .*utf-8"),
        ("t.jsonl", '{"url": "a", "caption": "\\ud800"}\n', "row 1: .*surrogates"),
        ("t.jsonl", "[" * 100_000, "row 1: not a JSON object"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path, name, content, where):
    with pytest.raises(InputError, match=rf"{name}: .*{where}") as error:
        convert(tmp_path, name, content)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_late_bad_row_is_named_by_its_place_in_the_whole_file(tmp_path):
    rows = "\n".join(f"http://x/{row},a caption of some length" for row in range(600_000))
    with pytest.raises(InputError, match=r"Row #600002"):
        convert(tmp_path, "t.csv", f"url,caption\n{rows}\none,two,three\n")


def test_a_byte_order_mark_and_blank_lines_are_no_rows(tmp_path):
    assert convert(tmp_path, "t.csv", "\ufeffurl,caption\n\na,b\n\n") == [{"url": "a", "caption": "b"}]
    line = json.dumps({"url": "a", "caption": "b"})
    assert convert(tmp_path, "t.jsonl", f"\ufeff{line}\n\n") == [{"url": "a", "caption": "b"}]


HEADERLESS = [
    ("t.tsv", "a cat\thttp://x/1\nb\thttp://x/2\n", ("caption", "url")),
    ("t.tsv", "http://x/1\ta cat\nhttp://x/2\tb", ("url", "caption")),
    ("t.csv", 'http://x/1,a cat\nhttp://x/2,"b"\n', ("URL", "TEXT")),
    ("t.tsv", "\ufeffa cat\thttp://x/1\r\nb\thttp://x/2\r\n", ("caption", "url")),
    ("t.tsv", "caption\turl\na cat\thttp://x/1\nb\thttp://x/2\n", ("caption", "url")),
    ("t.csv", "CAPTION,URL\na cat,http://x/1\nb,http://x/2\n", ("caption", "url")),
]


@pytest.mark.parametrize(("name", "content", "columns"), HEADERLESS)
def test_a_table_without_header_has_the_names_that_it_is_given(tmp_path, name, content, columns):
    got = convert(tmp_path, name, content, columns)
    assert [{key.lower(): value for key, value in row.items()} for row in got] == [
        {key.lower(): value for key, value in zip(columns, row, strict=True)}
        for row in (
            [("a cat", "http://x/1"), ("b", "http://x/2")]
            if columns[0] == "caption"
            else [("http://x/1", "a cat"), ("http://x/2", "b")]
        )
    ]


@pytest.mark.parametrize(
    ("content", "columns", "reason"),
    [
        ("a cat\thttp://x/1\n", (), r"its first line has a URL, so it has no header; name its columns with `columns`"),
        ("HTTPS://x/1\ta\n", (), "its first line has a URL"),
        ("a\thttp://x/1\n", ("caption",), r"its first line has 2 columns; `columns` names 1"),
        ("a\thttp://x/1\n", ("a", "b", "c"), r"its first line has 2 columns; `columns` names 3"),
        ("a\thttp://x/1\n", ("title", "url"), "column 'caption' is missing"),
        ("a\thttp://x/1\tb\n", ("url", "url", "alt"), "two columns would be named 'url'"),
        ("a\thttp://x/1\nb\n", ("caption", "url"), r"Row #2: Expected 2 columns, got 1: b$"),
        (b"a\thttp://x/1\n\xff\tc\n", ("caption", "url"), r"Row #2: .*UTF8"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path, content, columns, reason):
    with pytest.raises(InputError, match=rf"t\.tsv: .*{reason}"):
        convert(tmp_path, "t.tsv", content, columns)
