"""One URL, asked for safely: every way in which it can end is a `Fetched`, none is an exception."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime, timezone

import aiohttp
from yarl import URL

from pipelines.fetch.addresses import AllowedHosts, is_public, literal_address, parse_allowed_hosts
from pipelines.fetch.resolver import ForbiddenAddressError, PublicResolver
from pipelines.fetch.robots import opts_out
from schemas.outcomes import ErrorClass
from schemas.recipe import DownloadOptions

HEADERS = {
    "User-Agent": "Mozilla/5.0 (compatible; clipsieve)",
    "Accept": "image/*,*/*;q=0.5",
    "Accept-Encoding": "identity",
}

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RETRYABLE_STATUSES = frozenset({408, 425, 429, *range(500, 600)})
_BACKOFF_SECONDS = 0.5
_HEADER_BYTES = 16_384
_CHUNK_BYTES = 65_536
_MAX_RESOLVING_THREADS = 64


@dataclass(frozen=True)
class Fetched:
    """How asking for one URL ended: with a body, or with the class of error that says why not."""

    body: bytes | None = None
    final_url: str | None = None
    """The URL of the last answer, after redirects."""
    http_status: int | None = None
    content_type: str | None = None
    attempts: int = 0
    """How many times the URL was asked for; 0 where its text alone ruled it out.

    Within one of them aiohttp connects once more by itself when a connection breaks before the answer.
    """
    fetched_at: datetime | None = None
    error_class: ErrorClass | None = None
    error_message: str | None = None


class _FetchError(Exception):
    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class


@dataclass
class _Seen:
    """What one attempt has seen so far; kept when it fails half-way."""

    final_url: str | None = None
    http_status: int | None = None
    content_type: str | None = None


def open_session(options: DownloadOptions) -> aiohttp.ClientSession:
    """A session that connects to public addresses and allowed hosts only; without proxy or cookies."""
    threads = min(options.concurrency, _MAX_RESOLVING_THREADS)
    resolver = PublicResolver(parse_allowed_hosts(options.allow_hosts), threads)
    # Without a limit here no request waits for another's connection, so the deadlines are the server's alone.
    connector = aiohttp.TCPConnector(resolver=resolver, limit=0, ttl_dns_cache=300)
    timeout = aiohttp.ClientTimeout(total=None, connect=options.connect_timeout, sock_read=options.read_timeout)
    return aiohttp.ClientSession(
        connector=connector,
        connector_owner=True,
        timeout=timeout,
        headers=HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        max_line_size=_HEADER_BYTES,
        max_field_size=_HEADER_BYTES,
    )


async def fetch(session: aiohttp.ClientSession, url: str, options: DownloadOptions, seed: str) -> Fetched:
    """Ask for ``url`` until it answers, fails for good, or has been tried ``options.attempts`` times.

    ``seed`` (the pair's uid) decides the jitter of the waits in between.
    """
    allowed = parse_allowed_hosts(options.allow_hosts)
    try:
        start = _checked(_parsed(url.strip()), allowed)
    except _FetchError as error:
        return _failed(error, _Seen(), attempts=0)
    for attempt in range(1, options.attempts + 1):
        fetched = await _attempt(session, start, options, allowed, attempt)
        if attempt == options.attempts or not _may_pass(fetched):
            break
        await asyncio.sleep(backoff_seconds(seed, attempt))
    return fetched


def backoff_seconds(seed: str, attempt: int) -> float:
    """The wait after a failed attempt: doubling, times a jitter in [0.5, 1.5) that the seed decides."""
    digest = hashlib.sha256(f"{seed} {attempt}".encode()).digest()
    jitter = 0.5 + int.from_bytes(digest[:8], "big") / 2**64
    return _BACKOFF_SECONDS * 2.0 ** (attempt - 1) * jitter


def _may_pass(fetched: Fetched) -> bool:
    if fetched.error_class is ErrorClass.HTTP_ERROR:
        return fetched.http_status in _RETRYABLE_STATUSES
    return fetched.error_class is not None and fetched.error_class.retryable


async def _attempt(
    session: aiohttp.ClientSession, start: URL, options: DownloadOptions, allowed: AllowedHosts, attempt: int
) -> Fetched:
    seen = _Seen()
    try:
        body = await asyncio.wait_for(_follow(session, start, options, allowed, seen), options.total_timeout)
    except _FetchError as error:
        return _failed(error, seen, attempt)
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
        return _failed(_classify(error), seen, attempt)
    return Fetched(body, seen.final_url, seen.http_status, seen.content_type, attempt, _now())


def _failed(error: _FetchError, seen: _Seen, attempts: int) -> Fetched:
    return Fetched(
        None,
        seen.final_url,
        seen.http_status,
        seen.content_type,
        attempts,
        _now(),
        error.error_class,
        _encodable(str(error)),
    )


async def _follow(
    session: aiohttp.ClientSession, start: URL, options: DownloadOptions, allowed: AllowedHosts, seen: _Seen
) -> bytes:
    """Follow redirects, each hop checked as the first one, to a body."""
    hop = start
    for _ in range(options.max_redirects + 1):
        async with session.get(hop, allow_redirects=False) as response:
            seen.final_url = str(response.url)
            seen.http_status = response.status
            seen.content_type = _encodable(response.headers.get("Content-Type", "")) or None
            target = response.headers.get("Location") if response.status in _REDIRECTS else None
            if target is None:
                return await _read(response, options.max_bytes)
            # Nothing of a redirect's body is wanted, and it may be endless.
            response.close()
        hop = _checked(hop.join(_parsed(target)), allowed)
    raise _FetchError(ErrorClass.TOO_MANY_REDIRECTS, f"more than {options.max_redirects} redirects")


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if not 200 <= response.status < 300:
        raise _FetchError(ErrorClass.HTTP_ERROR, f"HTTP status {response.status}")
    if opts_out(response.headers.getall("X-Robots-Tag", [])):
        raise _FetchError(ErrorClass.OPTED_OUT, "X-Robots-Tag forbids the use of the image")
    too_large = _FetchError(ErrorClass.TOO_LARGE, f"more than {max_bytes} bytes")
    if (response.content_length or 0) > max_bytes:
        response.close()
        raise too_large
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            response.close()
            raise too_large
    if not body:
        raise _FetchError(ErrorClass.EMPTY_BODY, "an empty body")
    return bytes(body)


def _checked(parsed: URL, allowed: AllowedHosts) -> URL:
    """The URL, if its scheme, host and form may be asked for; a name is checked when it is resolved."""
    if parsed.scheme and parsed.scheme not in ("http", "https"):
        raise _FetchError(ErrorClass.SCHEME_NOT_ALLOWED, f"scheme {parsed.scheme[:40]!r}")
    host = parsed.raw_host  # as it is looked up: "²" is "2" there
    if not (parsed.scheme and host and parsed.port):
        raise _FetchError(ErrorClass.INVALID_URL, "not an absolute http or https URL")
    if parsed.user is not None or parsed.password is not None:
        raise _FetchError(ErrorClass.INVALID_URL, "credentials in the URL")
    address = literal_address(host)
    if address is None:
        return parsed
    if not is_public(address) and (str(address), parsed.port) not in allowed:
        raise _FetchError(ErrorClass.FORBIDDEN_ADDRESS, f"{host} is not a public address")
    return parsed.with_host(str(address))


def _parsed(url: str) -> URL:
    try:
        return URL(url)
    except ValueError as error:
        raise _FetchError(ErrorClass.INVALID_URL, f"not a URL: {error}") from error


def _classify(error: Exception) -> _FetchError:
    """What an exception of aiohttp or the system says about the server, in words that no run changes."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ForbiddenAddressError):
        return _FetchError(ErrorClass.FORBIDDEN_ADDRESS, "the host has no public address")
    if isinstance(cause, socket.gaierror):
        return _FetchError(ErrorClass.DNS_ERROR, "the host's name is not resolved")
    if isinstance(cause, ssl.SSLError) or isinstance(error, aiohttp.ClientSSLError):
        reason = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or type(cause).__name__
        return _FetchError(ErrorClass.TLS_ERROR, f"TLS: {reason}")
    if isinstance(error, asyncio.TimeoutError) or isinstance(cause, TimeoutError):
        return _FetchError(ErrorClass.TIMEOUT, "no answer within the deadlines")
    if isinstance(error, aiohttp.InvalidURL):
        return _FetchError(ErrorClass.INVALID_URL, "not a URL that can be asked for")
    if isinstance(error, aiohttp.ClientPayloadError):
        return _FetchError(ErrorClass.CONNECTION_ERROR, "cut off before the end of the body")
    reason = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else type(error).__name__
    return _FetchError(ErrorClass.CONNECTION_ERROR, f"connection failed: {reason}")


def _encodable(text: str) -> str:
    """A server's text as Unicode: aiohttp keeps undecodable bytes as lone surrogates, which tables refuse."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _now() -> datetime:
    return datetime.now(timezone.utc)
