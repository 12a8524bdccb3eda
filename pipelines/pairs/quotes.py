"""Whether the quotes of a CSV or TSV are quoting, and whether each that is opened is closed.

A CSV quotes. A field may have line breaks, so a row that takes more than one line has to be quoted as RFC 4180 says: to
the end, with nothing between a closing quote and the delimiter, and each quote within doubled. Behind a quote that was
left open the next one stands at the beginning of another field, not at an end, or none does; the rows after it would be
read as one row's text. A row of one line may have its quotes where it likes: it takes no other's place.

A TSV knows no quoting (IANA's text/tab-separated-values): a quote is a character. What writers of CSV leave as TSV is
told by all of it: see `has_quoted_fields`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import chain

from clipsieve.pipelines.pairs.formats import DELIMITERS, TextFormat, open_text
from clipsieve.schemas.errors import InputError

_MOST_CHARS = 131_072
"""Of a quoted field, as Python's csv module has it."""
_LATIN1_BOM = "\xef\xbb\xbf"
_QUOTED = r'"[^"]*(?:""[^"]*)*"'
_FIELD = rf'(?:{_QUOTED}|[^"\t]*)'
_ROW = re.compile(rf"{_FIELD}(?:\t{_FIELD})*")
_ALL_QUOTED_ROW = re.compile(rf"{_QUOTED}(?:\t{_QUOTED})*")


def refuse_open_quotes(path: str, form: TextFormat) -> None:
    """Read ``path`` through for its quotes alone.

    Raises InputError, naming the line, for a row of several lines that is not quoted well, and for a row with a quote
    and a field of more characters than Python's csv module takes (131,072).
    """
    with open_text(path, form.compression) as stream:
        # Latin-1 decodes any bytes, and has in them what UTF-8 has for delimiters and quotes.
        lines = enumerate(io.TextIOWrapper(stream, "latin-1", newline=""), 1)
        for number, line in lines:
            if '"' in line:
                try:
                    _check_row([_without_nul(line)], (_without_nul(more) for _, more in lines), DELIMITERS[form.kind])
                except csv.Error as error:
                    raise InputError(
                        f"{path}: line {number}: the quote that opens a field there is not closed as it should be "
                        f"({error}); close it, or double it where it is part of the text"
                    ) from error


def has_quoted_fields(path: str, form: TextFormat) -> bool:
    """Whether the quotes of a TSV are quoting.

    They are where each field that has a quote is quoted as RFC 4180 says, from the first line to the last, and
    something shows that it was done on purpose: all fields of the first line are quoted; or a quote within a field is
    doubled, or without quoting a line would have fewer or more fields than the first, and nowhere would lines that have
    as many become one row. Otherwise they are characters.
    """
    is_header_quoted = is_meant = False
    with open_text(path, form.compression) as stream:
        lines = io.TextIOWrapper(stream, "latin-1", newline="")
        first = next(lines, "").removeprefix(_LATIN1_BOM)
        for line in chain([first], lines):
            if '"' in line:
                row = _whole_row(line, lines)
                is_header_quoted |= line is first and bool(_ALL_QUOTED_ROW.fullmatch(row))
                parts = row.split("\n")
                fits = all(part.count("\t") == first.count("\t") for part in parts)
                if not _ROW.fullmatch(row) or (fits and len(parts) > 1 and not is_header_quoted):
                    return False
                is_meant |= not fits or _has_doubled(row)
    return is_meant or is_header_quoted


def _whole_row(line: str, following: Iterator[str]) -> str:
    """The lines from ``line`` on that hold an even number of quotes; of an open one no more than a field may have."""
    row = [line]
    chars, quotes = len(line), line.count('"')
    while quotes % 2 and chars <= _MOST_CHARS and (more := next(following, "")):
        row.append(more)
        chars, quotes = chars + len(more), quotes + more.count('"')
    return "".join(row).rstrip("\r\n")


def _has_doubled(row: str) -> bool:
    """Whether a field of a well quoted row has a quote within."""
    return any('""' in quoted[1:-1] for quoted in re.findall(_QUOTED, row))


def _check_row(row: list[str], following: Iterator[str], delimiter: str) -> None:
    """Take the lines that ``row``'s first one needs from ``following``; raises csv.Error where they are no row."""

    def lines() -> Iterator[str]:
        yield row[0]
        for line in following:
            row.append(line)
            yield line

    next(csv.reader(lines(), delimiter=delimiter))
    if len(row) > 1:
        next(csv.reader(row, delimiter=delimiter, strict=True))


def _without_nul(line: str) -> str:
    """``line`` as the csv module of Python 3.10 takes it too."""
    return line.replace("\0", " ")
