"""One request to one server: what it may send, how much, and for how long."""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from clipsieve.pipelines.fetch.failure import FetchError, failure_of
from clipsieve.pipelines.fetch.handler import BoundedHandler
from clipsieve.pipelines.fetch.resolver import PublicResolver
from clipsieve.pipelines.fetch.robots_txt import MAX_ROBOTS_BYTES
from clipsieve.pipelines.fetch.urls import encodable
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import Consent, ErrorClass

MAX_HEADERS = 128
MAX_HEADER_BYTES = 16_384
"""Of one header; of all of them four times as much."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_READ_BYTES = 1 << 18
_KEEP_ALIVE_SECONDS = 2.0  # longer, and the connections of hundreds of hosts a second would run out of sockets


@dataclass
class RedirectTrail:
    """What one attempt has seen so far; kept when it fails half-way."""

    asked: bool = False
    """Whether any server was asked for it."""
    spent: float = 0.0
    """Seconds spent on requests; waiting for turns is not."""
    final_url: str | None = None
    http_status: int | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    consent: Consent | None = None


ReadBody = Callable[[aiohttp.ClientResponse, RedirectTrail], Awaitable[str | bytes]]
"""Makes of an answer what is wanted of it: a body, or where a redirect points to."""
OnHead = Callable[[aiohttp.ClientResponse, float], None]
"""Is told of each answer that begins, and of when its request began (seconds of time.monotonic)."""


class Client:
    """Asks for one hop of a URL at a time. It belongs to one event loop."""

    def __init__(self, options: DownloadOptions, resolver: PublicResolver, on_head: OnHead) -> None:
        self._on_head = on_head
        self._total_timeout = options.total_timeout
        self._timeouts = {
            "connect": options.connect_timeout,
            "sock_read": options.read_timeout,
            "ceil_threshold": float("inf"),
        }
        self._session = aiohttp.ClientSession(
            connector=_connector(resolver, 2 * max(options.max_bytes, MAX_ROBOTS_BYTES)),
            timeout=aiohttp.ClientTimeout(total=options.total_timeout, **self._timeouts),
            headers={
                "User-Agent": f"Mozilla/5.0 (compatible; {options.user_agent})",
                "Accept": "image/*,*/*;q=0.5",
                "Accept-Encoding": "identity",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_READ_BYTES,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )

    async def get(self, url: URL, trail: RedirectTrail, take: ReadBody) -> str | bytes:
        """Ask for ``url``; returns what ``take`` makes of the answer: a body, or where a redirect points to.

        Raises FetchError, ``take``'s own among them.
        """
        trail.asked = True
        began = time.monotonic()
        try:
            response = await self._session.get(url, allow_redirects=False, **self._time_left(trail))
            try:
                self._on_head(response, began)
                return await self._read(response, trail, take)
            finally:
                response.close()  # of what has not been read nothing is wanted, and it may be endless
        except (aiohttp.ClientError, HttpProcessingError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise failure_of(error) from error
        finally:
            trail.spent += time.monotonic() - began

    async def close(self) -> None:
        await self._session.close()

    async def _read(self, response: aiohttp.ClientResponse, trail: RedirectTrail, take: ReadBody) -> str | bytes:
        trail.final_url = str(response.url)
        trail.http_status = response.status
        trail.content_type = encodable(response.headers.get("Content-Type", "")) or None
        trail.content_encoding = encodable(", ".join(response.headers.getall("Content-Encoding", []))) or None
        if sum(len(name) + len(value) for name, value in response.raw_headers) > 4 * MAX_HEADER_BYTES:
            raise FetchError(ErrorClass.PROTOCOL_ERROR, f"headers of more than {4 * MAX_HEADER_BYTES} bytes")
        return await take(response, trail)

    def _time_left(self, trail: RedirectTrail) -> dict[str, Any]:
        """The deadlines of a request after the first; those of the first are the session's."""
        if not trail.spent:
            return {}
        left = max(0.001, self._total_timeout - trail.spent)
        return {"timeout": aiohttp.ClientTimeout(total=left, **self._timeouts)}


def redirect_of(response: aiohttp.ClientResponse) -> str | None:
    """Where the answer sends on to, as it says it; None where it is no redirect."""
    return response.headers.get("Location") if response.status in _REDIRECTS else None


async def read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body, as the server sent it. Raises FetchError when it is longer than ``max_bytes``, or says so."""
    if (response.content_length or 0) <= max_bytes:
        body = await read_start(response, max_bytes + 1)
        if len(body) <= max_bytes:
            return body
    raise FetchError(ErrorClass.TOO_LARGE, f"more than {max_bytes} bytes")


async def read_start(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The first ``max_bytes`` of the body; fewer where it is shorter."""
    pieces = [await response.content.readany()]
    size = len(pieces[0])
    while pieces[-1] and size < max_bytes:
        pieces.append(await response.content.readany())
        size += len(pieces[-1])
    return b"".join(pieces)[:max_bytes]


def _connector(resolver: PublicResolver, max_bytes: int) -> aiohttp.TCPConnector:
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(("http/1.1",))
    # Without a limit no request waits here for another's connection, so the deadlines are the server's alone.
    connector = aiohttp.TCPConnector(
        resolver=resolver, use_dns_cache=False, limit=0, ssl=tls, keepalive_timeout=_KEEP_ALIVE_SECONDS
    )
    handler = functools.partial(BoundedHandler, loop=asyncio.get_running_loop(), max_bytes=max_bytes)
    connector._factory = handler  # type: ignore[assignment]
    return connector
