"""Why a URL has no body: an exception of ours for each, whatever aiohttp or the system raised."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from enum import Enum

import aiohttp
from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import BadHttpMessage, ContentLengthError, TransferEncodingError

from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.outcomes import ErrorClass, is_retryable

NO_ROUTE = frozenset({errno.ENETUNREACH, errno.ENETDOWN})
_CUT = (ContentLengthError, TransferEncodingError)  # the connection's end came before the body's
_NO_RESOURCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Doubt(Enum):
    """What a failure that may not be the server's own makes one ask about the network."""

    NAMES = "names"  # do the name servers answer?
    CONNECTIONS = "connections"  # does anything?


class FetchError(Exception):
    """A URL cannot be had: the row's class and message, and what to do about it."""

    def __init__(
        self,
        error_class: ErrorClass,
        message: str,
        http_status: int | None = None,
        retryable: bool | None = None,
        is_final: bool = False,
        doubt: Doubt | None = None,
        is_telling: bool = False,
    ) -> None:
        """``retryable``: a later pass can end differently; by default as `is_retryable` says. ``is_final``: another
        attempt in this pass cannot. ``doubt``: the network may be to blame; ``is_telling``: that is to be looked
        into even where nothing has answered yet.
        """
        super().__init__(message)
        self.error_class = error_class
        self.http_status = http_status
        self.retryable = is_retryable(error_class, http_status) if retryable is None else retryable
        self.is_final = is_final or not self.retryable
        self.doubt = doubt
        self.is_telling = is_telling


class ResolveError(OSError):
    """A host's name leads to no address that may be connected to; carries the failure through aiohttp."""

    def __init__(self, failure: FetchError) -> None:
        super().__init__(str(failure))
        self.failure = failure


def failure_of(error: Exception) -> FetchError:
    """What an exception of aiohttp or the system says about the server, in words that no run changes.

    Raises ClipsieveError where it is this machine that has run out of something.
    """
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ResolveError):
        return cause.failure
    if isinstance(cause, ssl.SSLEOFError):
        return _cut_off("in the TLS handshake")
    if isinstance(cause, ssl.SSLError) or isinstance(error, aiohttp.ClientSSLError):
        reason = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or type(cause).__name__
        return FetchError(ErrorClass.TLS_ERROR, f"TLS: {reason}")
    if isinstance(error, asyncio.TimeoutError) or isinstance(cause, TimeoutError):
        return FetchError(ErrorClass.TIMEOUT, "no answer within the deadlines", doubt=Doubt.CONNECTIONS)
    if isinstance(error, aiohttp.InvalidURL):
        return FetchError(ErrorClass.INVALID_URL, "not a URL that can be requested")
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)):
        return FetchError(ErrorClass.PROTOCOL_ERROR, "an answer that is not HTTP, or with headers past all bounds")
    if isinstance(error, aiohttp.ClientPayloadError):
        if isinstance(error.__cause__, BadHttpMessage) and not isinstance(error.__cause__, _CUT):
            return FetchError(ErrorClass.PROTOCOL_ERROR, "a body that is not framed as HTTP says")
        return _cut_off("before the end of the body")
    return _connection_failure(cause, type(error).__name__)


def _cut_off(where: str) -> FetchError:
    return FetchError(ErrorClass.CONNECTION_ERROR, f"cut off {where}", doubt=Doubt.CONNECTIONS)


def _connection_failure(cause: Exception, name: str) -> FetchError:
    number = cause.errno if isinstance(cause, OSError) else None
    reason = os.strerror(number) if number else name
    if number in _NO_RESOURCE:
        raise ClipsieveError(
            f"this machine cannot open more connections ({reason}): lower `concurrency` or raise ulimit"
        )
    return FetchError(
        ErrorClass.CONNECTION_ERROR,
        f"connection failed: {reason}",
        doubt=Doubt.CONNECTIONS,
        is_telling=number in NO_ROUTE,
    )
