"""Content-Encoding, which buckets store with a file and send whatever a client accepts."""

from __future__ import annotations

import zlib

_GZIP = b"\x1f\x8b"
_DEFLATE = (zlib.MAX_WBITS, -zlib.MAX_WBITS)  # as the standard has it, and as some servers do: without a header
_MAX_CODINGS = 4
_MAX_MEMBERS = 16
"""Of a gzip file: each costs a copy of what comes after it."""


def decoded(body: bytes, content_encoding: str | None, max_bytes: int) -> bytes:
    """The first ``max_bytes`` of what ``body`` holds by its Content-Encoding; no more is ever unpacked.

    gzip and deflate, with zlib's header or without it, are known. What a server calls packed and is not, is damaged or
    is packed in another way is returned as it came; a stream that is cut off yields what is before the cut.
    """
    codings = [coding.strip().lower() for coding in (content_encoding or "").split(",")]
    for coding in reversed(codings[-_MAX_CODINGS:]):
        if coding in ("gzip", "x-gzip"):
            body = _gunzipped(body, max_bytes) or body
        elif coding == "deflate":
            body = next(filter(None, (_inflated(body, window, max_bytes)[0] for window in _DEFLATE)), body)
    return body


def _gunzipped(body: bytes, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    left, rest = max_bytes, body
    while rest.startswith(_GZIP) and left and len(pieces) < _MAX_MEMBERS:
        piece, rest = _inflated(rest, 16 + zlib.MAX_WBITS, left)
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _inflated(body: bytes, window: int, max_bytes: int) -> tuple[bytes, bytes]:
    """At most ``max_bytes`` of the stream that ``body`` begins with, and what comes after it; nothing where it is none.

    ``window`` says which kind of stream, as `zlib.decompressobj` takes it.
    """
    stream = zlib.decompressobj(window)
    try:
        return stream.decompress(body, max_bytes), stream.unused_data
    except zlib.error:
        return b"", b""
