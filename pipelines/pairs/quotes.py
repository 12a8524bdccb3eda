"""Refuses a CSV or TSV in which a quote is left open: the rows after it would be read as one row's text.

A field may have line breaks, so a row that takes more than one line has to be quoted as RFC 4180 says: to the end, with
nothing between a closing quote and the delimiter, and each quote within doubled. Behind a quote that was left open the
next one stands at the beginning of another field, not at an end, or none does. A row of one line may have its quotes
where it likes: it takes no other's place.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError


def refuse_open_quotes(path: str, delimiter: str) -> None:
    """Read ``path`` through for its quotes alone.

    Raises InputError, naming the line, for a row of several lines that is not quoted well, and for a row with a quote
    and a field of more characters than Python's csv module takes (131,072).
    """
    with files.open_read(path) as stream:
        # Latin-1 decodes any bytes, and has in them what UTF-8 has for delimiters and quotes.
        lines = enumerate(io.TextIOWrapper(stream, "latin-1", newline=""), 1)
        for number, line in lines:
            if '"' in line:
                try:
                    _check_row([_without_nul(line)], (_without_nul(more) for _, more in lines), delimiter)
                except csv.Error as error:
                    raise InputError(
                        f"{path}: line {number}: the quote that opens a field there is not closed as it should be "
                        f"({error}); close it, or double it where it is part of the text"
                    ) from error


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
