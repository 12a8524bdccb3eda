from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.pairs.quotes import refuse_open_quotes
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
    refuse_open_quotes(str(path), ",")


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
        ('url\tcaption\na\t"open\nb\tc\n', 2),
        ('url\tcaption\na\tb\nc\t"open\nd\t"e"\nf\tg\n', 3),
        ('"url\tcaption\na\tb\n', 1),
        ('url\tcaption\na\t"two\nlines" and more\nb\tc\n', 2),
    ],
)
def test_the_line_that_opens_the_quote_is_named(tmp_path: Path, content: str, line: int) -> None:
    with pytest.raises(InputError, match=rf"t\.tsv: line {line}: the quote") as error:
        convert(tmp_path, "t.tsv", content)
    assert "\n" not in str(error.value)


def test_an_open_quote_is_found_long_before_a_large_files_end(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('url,caption\na,"open\n' + "b,c\n" * 100_000 + 'd,e"\n')
    with pytest.raises(InputError, match=r"t\.csv: line 2: .*field larger than field limit \(131072\)"):
        text_to_parquet(str(path), str(tmp_path / "copy.parquet"))
