"""Answers as servers send them, made into what HTTP's grammar allows, as far as all readers agree on what is meant."""

from __future__ import annotations

import re

from aiohttp.http_exceptions import TransferEncodingError

MAX_LINE_BYTES = 16_384
"""Of the size line of a chunk; of all trailers four times as much."""

_END_OF_HEAD = re.compile(rb"\n\r?\n")

_HTTP = b"HTTP/1."
_STATUS = re.compile(rb"\s*HTTP/(?:(1\.0|0\.9)|1\.[^\s]*)\s+0*([1-9][0-9]{2})(?!\S)(?:\s+([^\r\n]*))?\s*")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(rb"\+?0*([0-9]+)")
_CHUNK_SIZE = re.compile(rb"\s*(?:0x)?0*([0-9a-f]{1,8})\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)

Header = tuple[bytes, bytes]


def end_of_head(data: bytes, searched: int = 0) -> int:
    """Where the head that ``data`` begins with ends; 0 where that has not come. It has not in ``searched`` bytes."""
    match = _END_OF_HEAD.search(data, max(len(data) - len(data.lstrip()), searched - 2))
    return match.end() if match else 0


def may_be_http(data: bytes) -> bool:
    """Whether an answer that begins with ``data`` can be one of HTTP/1."""
    start = data.lstrip()
    return status_of(start) is not None if b"\n" in start else start[: len(_HTTP)] == _HTTP[: len(start)]


def status_of(head: bytes) -> int | None:
    """The status of an answer, of whose head the first line has come; None where it is not HTTP/1."""
    match = _STATUS.match(head)
    return int(match[2]) if match else None


def tidy_head(head: bytes) -> bytes | None:
    """An answer's head, through the empty line, in HTTP's grammar; None where it is not HTTP/1 or is ambiguous.

    Lines that are no headers are left out, folded ones joined. Chunks go before a length; a length that is no number
    counts as none, so that the body goes on to the connection's end; two that differ are ambiguous.
    """
    status, *lines = re.split(rb"\r?\n", head.lstrip())
    match = _STATUS.fullmatch(status)
    headers = _headers(lines)
    framing = _framing(headers)
    if match is None or framing is None:
        return None
    version = b"HTTP/1.0" if match[1] else b"HTTP/1.1"
    kept = [header for header in headers if header[0].lower() not in (b"content-length", b"transfer-encoding")]
    start = b"%s %s %s" % (version, match[2], _CONTROL.sub(b" ", match[3] or b""))
    return b"\r\n".join([start, *(b"%s: %s" % header for header in [*kept, *framing]), b"", b""])


def _headers(lines: list[bytes]) -> list[Header]:
    headers: list[Header] = []
    is_kept = False
    for line in filter(None, lines):
        if line[:1] in b" \t":
            if is_kept:
                name, value = headers.pop()
                headers.append((name, value + b" " + _value(line)))
            continue
        name, colon, value = line.partition(b":")
        name = name.rstrip()
        is_kept = bool(colon and _NAME.fullmatch(name))
        if is_kept:
            headers.append((name, _value(value)))
    return headers


def _value(text: bytes) -> bytes:
    return _CONTROL.sub(b" ", text).strip()


def _framing(headers: list[Header]) -> list[Header] | None:
    """The header that says where the body ends, if one does; None where two lengths differ."""
    codings = [coding for coding in _parts(headers, b"transfer-encoding") if coding not in (b"", b"identity")]
    if codings[-1:] == [b"chunked"]:
        return [(b"Transfer-Encoding", b", ".join(codings))]
    matches = [_LENGTH.fullmatch(part) for part in _parts(headers, b"content-length")]
    lengths = {match[1] for match in matches if match}
    return None if len(lengths) > 1 else [(b"Content-Length", length) for length in lengths]


def _parts(headers: list[Header], name: bytes) -> list[bytes]:
    return [part.strip().lower() for key, value in headers if key.lower() == name for part in value.split(b",")]


class Unchunker:
    """Reads a body in chunks as urllib does: by their sizes, whatever else stands around them."""

    def __init__(self) -> None:
        self.is_last = False
        """Whether the chunk of no bytes has come; after it only trailers do."""
        self.is_whole = False
        """Whether the empty line after the trailers has come too."""
        self._waiting = b""
        self._left = 0
        self._is_behind_chunk = False
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """What ``data``, which comes next, holds of the body. Raises TransferEncodingError where no chunk begins."""
        data, at, pieces = self._waiting + data, 0, []
        while at < len(data) and not self.is_whole:
            if self._left:
                pieces.append(data[at : at + self._left])
                at += len(pieces[-1])
                self._left -= len(pieces[-1])
                continue
            if self._is_behind_chunk:
                end = at + (1 if data[at : at + 1] == b"\n" else 2)
                if end > len(data):
                    break
                self._is_behind_chunk = False
            else:
                end = data.find(b"\n", at) + 1
                if not end and len(data) - at <= MAX_LINE_BYTES:
                    break
                self._read_line(data[at:end])
            at = end
        self._waiting = data[at:]
        return b"".join(pieces)

    def last_line(self) -> bytes:
        """What makes a line of what has come last, for when the connection has ended; nothing within a chunk."""
        return b"" if self._left or self._is_behind_chunk or not self._waiting else b"\n"

    def _read_line(self, line: bytes) -> None:
        """A chunk's size or a trailer; no bytes: it is too long."""
        if self.is_last:
            self._trailer_bytes += len(line)
            if not line or self._trailer_bytes > 4 * MAX_LINE_BYTES:
                raise TransferEncodingError("trailers past all bounds")
            self.is_whole = not line.strip()
            return
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise TransferEncodingError("not the size of a chunk")
        self._left = int(size[1], 16)
        self._is_behind_chunk = self._left > 0
        self.is_last = not self._left
