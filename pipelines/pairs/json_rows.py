"""The objects of a JSON file as rows of text: one a line, one after another, or in one array; read as a stream."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import IO, Any

from clipsieve.pipelines.pairs.formats import TextFormat, open_text
from clipsieve.schemas.errors import InputError, one_line

Row = dict[str, str | None]

_READ_CHARS = 1 << 20
_MOST_CHARS = 1 << 26
_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder(parse_constant=lambda word: None if word == "NaN" else word)
"""Python's json writes NaN for a value that is missing; it is none of JSON's words."""


def iter_json_rows(path: str, form: TextFormat) -> Iterator[Row]:
    """Stream the objects of ``path``, each value a string, the JSON of what is not a string, or None.

    Of ``jsonl`` each line is one, of ``json`` the whole may be an array. Raises InputError, naming the row (of jsonl
    the line), for what is no object in UTF-8, and for an object of more than 64 Mi characters.
    """
    with open_text(path, form.compression) as stream:
        values = _lines(stream) if form.kind == "jsonl" else _values(stream)
        row = 0
        while True:
            row += 1
            try:
                value = next(values, _END)
                if value is _END:
                    return
                if value is not _BLANK:
                    yield _as_row(value)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}: row {row}: not a JSON object in UTF-8 ({one_line(error)})") from error


_END, _BLANK = object(), object()


def _lines(stream: IO[bytes]) -> Iterator[Any]:
    for number, line in enumerate(stream):
        text = line.decode("utf-8" if number else "utf-8-sig")
        yield _DECODER.decode(text) if text.strip() else _BLANK


def _values(stream: IO[bytes]) -> Iterator[Any]:
    """The values of one array, or those that stand one after another."""
    text = _Text(io.TextIOWrapper(stream, "utf-8-sig", newline=""))
    if text.next_char() == "[":
        yield from _items(text)
    while text.next_char():
        yield text.value()


def _items(text: _Text) -> Iterator[Any]:
    """The values of the array that begins with the next character."""
    text.skip()
    if text.next_char() == "]":
        text.skip()
        return
    mark = ","
    while mark == ",":
        yield text.value()
        mark = text.next_char()
        if mark not in (",", "]"):
            raise ValueError("the array does not go on after the object before it")
        text.skip()


class _Text:
    """The characters of a stream that are not used up yet."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0

    def next_char(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text) or not self._read():
                return self._text[self._at : self._at + 1]

    def skip(self) -> None:
        """Use up the next character."""
        self._at += 1

    def value(self) -> Any:
        """Use up the JSON value that begins with the next character."""
        self.next_char()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                if end < len(self._text) or not self._read():  # what follows may be more of a number
                    self._at = end
                    return value
            except json.JSONDecodeError:
                if not self._read():
                    raise

    def _read(self) -> bool:
        """Read on, as much again as is not used up; False at the end."""
        rest = self._text[self._at :]
        if len(rest) > _MOST_CHARS:
            raise ValueError(f"it does not end within {_MOST_CHARS:,} characters")
        more = self._stream.read(max(_READ_CHARS, len(rest)))
        self._text, self._at = rest + more, 0
        return bool(more)


def _as_row(value: Any) -> Row:
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}, not an object")
    return {_encodable(name): _as_text(part) for name, part in value.items()}


def _as_text(value: object) -> str | None:
    if value is None:
        return None
    return _encodable(value) if isinstance(value, str) else json.dumps(value)


def _encodable(text: str) -> str:
    """``text``, if it is Unicode: JSON can spell half a surrogate pair, which is not."""
    text.encode()
    return text
