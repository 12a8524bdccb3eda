from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.pairs.formats import TextFormat
from clipsieve.pipelines.pairs.quotes import has_quoted_fields, refuse_open_quotes
from clipsieve.pipelines.pairs.text import text_to_parquet
from clipsieve.schemas.errors import InputError
from tests.pipelines.pairs.test_text import convert

# A quoted field that begins with a delimiter, a line break or a quote looks like the end of one before it.
words = st.text("ab ,\n", min_size=1, max_size=6).map(lambda text: "w" + text)
plain = st.text("abc ", min_size=1, max_size=6)


def written(rows: list[tuple[str, ...]], quoting: Any = csv.QUOTE_MINIMAL) -> list[str]:
    """Each row's text, as Python's csv module writes it."""
    texts = []
    for row in rows:
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n", quoting=quoting).writerow(row)
        texts.append(stream.getvalue())
    return texts


@given(st.lists(st.tuples(words, words), max_size=8), plain, st.lists(st.tuples(words, words), min_size=1, max_size=8))
def test_a_quote_left_open_never_swallows_the_rows_behind_it(tmp_path_factory, before, caption, after):
    folder = tmp_path_factory.mktemp("open")
    head = "".join(["url,caption\n", *written(before)])
    with pytest.raises(InputError, match=rf"t\.csv: line {head.count(chr(10)) + 1}: the quote .* is not closed"):
        convert(folder, "t.csv", "".join([head, f'u,"{caption}\n', *written(after)]))
    assert [path.name for path in folder.iterdir()] == ["t.csv"]


texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)


@given(
    st.lists(st.tuples(texts, texts), min_size=1, max_size=8),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_a_writer_of_csv_writes_is_taken(tmp_path_factory, rows, quoting):
    path = tmp_path_factory.mktemp("sound") / "t.csv"
    path.write_text("".join(written(rows, quoting)), "utf-8", newline="")
    refuse_open_quotes(str(path), TextFormat("csv", None))


@pytest.mark.parametrize(
    ("row", "caption"),
    [
        ('a,5" wide', '5" wide'),
        ('a,"Hello" she said', "Hello she said"),
        ('a,"two\nlines, ""quoted"""', 'two\nlines, "quoted"'),
        ('a,"NUL\0\n"', "NUL\0\n"),
        ('a,"é\n\r\n"', "é\n\r\n"),
    ],
)
def test_quotes_that_take_no_other_rows_place_are_read(tmp_path: Path, row: str, caption: str) -> None:
    got = convert(tmp_path, "t.csv", f"url,caption\n{row}\nb,c\n")
    assert got == [{"url": "a", "caption": caption}, {"url": "b", "caption": "c"}]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('url,caption\na,"open\nb,c\n', 2),
        ('url,caption\na,b\nc,"open\nd,"e"\nf,g\n', 3),
        ('"url,caption\na,b\n', 1),
        ('url,caption\na,"two\nlines" and more\nb,c\n', 2),
    ],
)
def test_the_line_that_opens_the_quote_is_named(tmp_path: Path, content: str, line: int) -> None:
    with pytest.raises(InputError, match=rf"t\.csv: line {line}: the quote") as error:
        convert(tmp_path, "t.csv", content)
    assert "\n" not in str(error.value)


def test_an_open_quote_is_found_long_before_a_large_files_end(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('url,caption\na,"open\n' + "b,c\n" * 100_000 + 'd,e"\n')
    with pytest.raises(InputError, match=r"t\.csv: line 2: .*field larger than field limit \(131072\)"):
        text_to_parquet(str(path), TextFormat("csv", None), str(tmp_path / "copy.parquet"))


CHARACTERS = [
    ['"Hello" said Bob', "plain", '"whole"'],
    ['"an open quote', "plain", "end"],
    ['"whole"', '"all"', '"of"', '"them"'],
    ['"open', "plain", 'close"'],
    ['"', '""', 'close"'],
    ['15" wide', '""', '"'],
    ['"a ""b"" c"', 'an inch is 1"'],
    ['""doubled""', '"well ""quoted"""'],
    ["'single'", '"', "x"],
    ['"x" "y"', "\u201cé\u201d", "\ufeff"],
]


@pytest.mark.parametrize("captions", CHARACTERS)
@pytest.mark.parametrize("header", ["url\tcaption\n", ""])
def test_a_quote_in_a_tsv_is_a_character(tmp_path, captions, header):
    content = header + "".join(f"http://x/{row}\t{caption}\n" for row, caption in enumerate(captions))
    got = convert(tmp_path, "t.tsv", content, () if header else ("url", "caption"))
    assert [row["caption"] for row in got] == captions


QUOTED = [
    ('url\tcaption\na\t"two\nlines"\n', ["two\nlines"]),
    ('url\tcaption\na\t"a\ttab"\nb\tc\n', ["a\ttab", "c"]),
    ('url\tcaption\na\t"5"" wide"\n', ['5" wide']),
    ('"url"\t"caption"\n"a"\t"b"\n', ["b"]),
    ('\ufeff"url"\t"caption"\r\n"a"\t"b"\r\n', ["b"]),
    ('url\tcaption\na\t"one\n\n ""two""\r\n"\nb\t"whole"\nc\td', ['one\n\n "two"\r\n', "whole", "d"]),
    ('url\tcaption\na\t""""\n', ['"']),
]


@pytest.mark.parametrize(("content", "captions"), QUOTED)
def test_a_tsv_that_a_writer_of_csv_wrote_is_quoted(tmp_path, content, captions):
    assert [row["caption"] for row in convert(tmp_path, "t.tsv", content)] == captions


marks = st.text('ab "\t', max_size=6) | st.text('ab "\n', max_size=6)


@given(st.lists(st.tuples(marks, marks), min_size=1, max_size=6), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
def test_what_a_writer_of_csv_writes_as_tsv_is_read_back(tmp_path_factory, rows, quoting):
    folder = tmp_path_factory.mktemp("tsv")
    stream = io.StringIO()
    csv.writer(stream, delimiter="\t", lineterminator="\n", quoting=quoting).writerows([("url", "caption"), *rows])
    (folder / "t.tsv").write_text(stream.getvalue(), newline="")
    is_quoted = has_quoted_fields(str(folder / "t.tsv"), TextFormat("tsv", None))
    # The module quotes nothing but what needs it, so what it quotes shows that it was quoted.
    assert is_quoted == ('"' in stream.getvalue())
    assert [(row["url"], row["caption"]) for row in convert(folder, "t.tsv", stream.getvalue())] == rows


lone = st.text('ab "', max_size=6)


@given(st.lists(lone, min_size=1, max_size=8), st.sampled_from(['x"', '"x" y', '5" z']))
def test_one_quote_that_is_none_makes_all_of_them_characters(tmp_path_factory, captions, odd):
    captions = [*captions, odd]
    content = "url\tcaption\n" + "".join(f"u{row}\t{caption}\n" for row, caption in enumerate(captions))
    got = convert(tmp_path_factory.mktemp("tsv"), "t.tsv", content)
    assert [row["caption"] for row in got] == captions


def test_an_open_quote_of_a_tsv_is_not_followed_to_the_end(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text('url\tcaption\na\t"open\n' + "b\tc\n" * 100_000 + 'd\te"\n')
    assert not has_quoted_fields(str(path), TextFormat("tsv", None))


def test_a_line_of_too_many_fields_is_named_where_quotes_are_characters(tmp_path):
    with pytest.raises(InputError, match=r"t\.tsv: .*Row #4: Expected 2 columns, got 3"):
        convert(tmp_path, "t.tsv", 'url\tcaption\na\t"b" c\nd\te\nf\tg\th\n')
