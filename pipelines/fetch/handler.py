"""aiohttp's reading of an answer, with the bounds that it lacks."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError

from clipsieve.pipelines.fetch.failure import FetchError
from clipsieve.pipelines.fetch.lenient import MAX_INTERIM_ANSWERS, LenientParser, is_interim
from clipsieve.schemas.outcomes import ErrorClass

_END_OF_HEAD = b"\r\n\r\n"


class BoundedHandler(ResponseHandler):
    """Bounds what a server may send in answer to one request, and ignores what it sends after its answer.

    aiohttp reads interim answers (100 to 199) for ever, as it does the extensions of chunks and the trailers
    after them; it loses an answer when more than its Content-Length comes in one piece with its head; and it
    waits for the rest of a body whose framing has just been found broken.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, max_bytes: int) -> None:
        """``max_bytes`` of a whole answer, framing included."""
        super().__init__(loop)
        self._max_bytes = max_bytes
        self._received = 0
        self._interim = 0
        self._awaits_head = True

    def set_response_params(self, **params: Any) -> None:
        """A request begins."""
        self._received = self._interim = 0
        self._awaits_head = True
        super().set_response_params(**params)
        if self._awaits_head:
            self._parser: Any = LenientParser(self, self._parser, lambda: self._open_parser(params))

    def _open_parser(self, params: dict[str, Any]) -> Any:
        """Another parser of aiohttp's for the answer to the request."""
        lenient = self._parser
        super().set_response_params(**params)
        strict, self._parser = self._parser, lenient
        return strict

    def data_received(self, data: bytes) -> None:
        """Bytes have come. Heads are parsed one by one: an error after one cannot take it along."""
        self._received += len(data)
        while self._awaits_head and 0 <= (end := data.find(_END_OF_HEAD)) < len(data) - len(_END_OF_HEAD):
            super().data_received(data[: end + len(_END_OF_HEAD)])
            data = data[end + len(_END_OF_HEAD) :]
        super().data_received(data)
        if self._received > self._max_bytes:
            self._break_body(FetchError(ErrorClass.TOO_LARGE, f"more than {self._max_bytes} bytes are sent"))

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """The answer is broken: so is its body, where that has begun and is not yet whole."""
        super().set_exception(exc, exc_cause or exc)
        if isinstance(exc, HttpProcessingError):
            self._break_body(exc)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """An answer has begun, interim or not."""
        self._awaits_head = is_interim(data[0].code)
        self._interim += self._awaits_head
        if self._interim <= MAX_INTERIM_ANSWERS:
            super().feed_data(data, size)
        elif self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            self.set_exception(HttpProcessingError(message="too many interim answers"))

    def _break_body(self, exc: Exception) -> None:
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(exc)
            self.force_close()
