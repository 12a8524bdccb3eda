"""A second reading of answers that aiohttp's parser refuses and every other client takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.http_exceptions import TransferEncodingError
from aiohttp.streams import StreamReader

from clipsieve.pipelines.fetch.untidy import Unchunker, end_of_head, may_be_http, status_of, tidy_head

MAX_INTERIM_ANSWERS = 16
MAX_HEAD_BYTES = 65_536
"""Of a head that is read a second time."""

Messages = Sequence[tuple[RawResponseMessage, StreamReader]]
Came = tuple[Messages, bool, bytes]
"""What aiohttp's parsers return: answers that have begun, whether the protocol changes, what they leave unread."""

_NOTHING: Came = ((), False, b"")


def is_interim(status: int) -> bool:
    return 100 <= status < 200


class LenientParser:
    """aiohttp's parser of one answer, and what reads the answer from its first byte where that has refused it.

    A head is tidied and parsed again; chunks are read by their sizes. The connection is closed after such an answer.
    Until the head is read, and of a body in chunks until its end, what has come is kept for that, as it came; of any
    other body every byte goes straight to aiohttp's parser.
    """

    def __init__(self, protocol: ResponseHandler, parser: Any, open_parser: Callable[[], Any]) -> None:
        """``parser`` is aiohttp's for ``protocol``; ``open_parser`` makes another like it."""
        self._protocol = protocol
        self._parser = parser
        self._open_parser = open_parser
        self._kept: list[bytes] | None = []
        """From the head's first byte, or from the first chunk's; None: nothing is read again."""
        self._refusal: HttpProcessingError | None = None
        self._searched = 0
        """Bytes in which the end of a head that is read again has not come."""
        self._interim = 0
        self._body: StreamReader | None = None
        """The body of an answer in chunks."""
        self._chunks: Unchunker | None = None
        self._handed_over = 0
        """Bytes of the body that had come before its chunks were read again."""

    def feed_data(self, data: bytes) -> Came:
        """Read what comes next. Raises HttpProcessingError for an answer that neither reading makes sense of."""
        if self._kept is None:
            return self._parser.feed_data(data)
        if self._body is not None and self._chunks is not None:
            return self._read_chunks(self._body, self._chunks, data)
        self._kept.append(data)
        if self._refusal is None:
            try:
                came: Came = self._parser.feed_data(data)
            except HttpProcessingError as refusal:
                self._refusal = refusal
            else:
                self._note(came[0])
                return came
        self._protocol.force_close()
        if self._body is not None:
            return self._read_chunks_again(self._body)
        return self._read_head_again(self._refusal)

    def feed_eof(self) -> Any:
        """The connection has ended. Raises TransferEncodingError where that is before the body's last chunk."""
        if self._body is None and self._refusal is not None:
            return None
        if self._chunks is None:
            try:
                return self._parser.feed_eof()
            except TransferEncodingError:
                if self._body is None:
                    raise
                self._read_chunks_again(self._body)
        if self._body is not None and self._chunks is not None and not self._body.is_eof():
            self._read_chunks(self._body, self._chunks, self._chunks.last_line())
            if not self._chunks.is_last:
                raise TransferEncodingError("the connection ended before the last chunk")
            self._body.feed_eof()
        return None

    def pause_reading(self) -> None:
        """The body is not read as fast as it comes."""
        if self._chunks is None:
            self._parser.pause_reading()

    def _note(self, messages: Messages) -> None:
        """Keep from now on what a second reading would need, after answers that have begun."""
        if not messages:
            return
        message, payload = messages[-1]
        if message.chunked and not payload.is_eof():
            self._body = payload
            payload.on_eof(self._forget)
        elif not is_interim(message.code):
            self._kept = None
            return
        rest = b"".join(self._kept or ())
        for _ in messages:
            rest = rest[end_of_head(rest) :]
        self._kept = [rest]

    def _forget(self) -> None:
        self._kept = None

    def _read_head_again(self, refusal: HttpProcessingError) -> Came:
        seen = b"".join(self._kept or ())
        end = end_of_head(seen, self._searched)
        while end and is_interim(status_of(seen) or 0) and self._interim <= MAX_INTERIM_ANSWERS:
            self._interim += 1
            seen = seen[end:]
            end = end_of_head(seen)
        self._kept, self._searched = [seen], len(seen)
        if not may_be_http(seen) or self._interim > MAX_INTERIM_ANSWERS or (not end and len(seen) > MAX_HEAD_BYTES):
            raise refusal
        if not end:
            return _NOTHING
        tidied = tidy_head(seen[:end])
        if tidied is None:
            raise refusal
        self._parser, self._kept = self._open_parser(), [tidied]
        messages: Messages = self._parser.feed_data(tidied)[0]
        self._refusal = None
        self._note(messages)
        try:
            self.feed_data(seen[end:])
        except HttpProcessingError as error:  # it must not take the answer along
            if not messages[-1][1].is_eof():
                messages[-1][1].set_exception(error)
        return messages, False, b""

    def _read_chunks_again(self, payload: StreamReader) -> Came:
        self._protocol.force_close()
        self._chunks, self._handed_over = Unchunker(), payload.total_bytes
        raw, self._kept = b"".join(self._kept or ()), []
        return self._read_chunks(payload, self._chunks, raw)

    def _read_chunks(self, payload: StreamReader, chunks: Unchunker, data: bytes) -> Came:
        body = chunks.feed(data)
        again = min(self._handed_over, len(body))
        self._handed_over -= again
        if len(body) > again:
            payload.feed_data(body[again:])
        if chunks.is_whole:
            payload.feed_eof()
        return _NOTHING
