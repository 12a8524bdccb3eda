"""A URL requested safely until it answers or cannot: every way in which it can end is a `Fetched`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timezone

import aiohttp
from yarl import URL

from clipsieve.pipelines.fetch.addresses import parse_allowed_hosts
from clipsieve.pipelines.fetch.client import Client, ReadBody, RedirectTrail, read_body, read_start, redirect_of
from clipsieve.pipelines.fetch.codings import decoded
from clipsieve.pipelines.fetch.failure import FetchError
from clipsieve.pipelines.fetch.hosts import Hosts, host_of
from clipsieve.pipelines.fetch.network import Network
from clipsieve.pipelines.fetch.resolver import PublicResolver
from clipsieve.pipelines.fetch.retry import backoff_seconds, retry_after_seconds
from clipsieve.pipelines.fetch.robots import header_opt_out
from clipsieve.pipelines.fetch.robots_txt import MAX_ROBOTS_BYTES, RobotsAnswer, RobotsTxt, RobotsUnreachableError
from clipsieve.pipelines.fetch.urls import encodable, parse_redirect, parse_url
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import Consent, ErrorClass

_ROBOTS_REDIRECTS = 5  # RFC 9309, section 2.3.1.2
_BUSY_STATUSES = frozenset({429, 503})  # those that Retry-After says something of (RFC 9110 and 6585)
_MAX_INTERRUPTIONS = 10
"""How often an attempt is repeated because the network was gone: a server that dies of one URL looks alike."""


@dataclass(frozen=True)
class Fetched:
    """How asking for one URL ended: with a body, or with the class of error that says why not."""

    body: bytes | None = None
    final_url: str | None = None
    """The URL of the last answer, after redirects."""
    http_status: int | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    """What the server calls the body's packing; ``body`` is as it was sent, and `codings.decoded` unpacks it."""
    attempts: int = 0
    """How many times the URL was requested; 0 where its text or its host's wish alone ruled it out.

    What the network's absence ended is not counted. Within an attempt aiohttp connects once more by itself when
    a connection breaks before the answer.
    """
    fetched_at: datetime | None = None
    consent: Consent | None = None
    error_class: ErrorClass | None = None
    error_message: str | None = None
    retryable: bool = False
    """Whether a later pass can end differently."""


@dataclass(frozen=True)
class _Outcome:
    """How the attempts at something ended."""

    body: bytes | None
    failure: FetchError | None
    trail: RedirectTrail
    attempts: int

    @property
    def http_status(self) -> int | None:
        """Of the last answer; where the URL was not requested, of the one that ruled it out."""
        return self.trail.http_status or (self.failure.http_status if self.failure else None)


class Fetcher:
    """Fetches URLs side by side on one event loop, and knows their hosts for as long as it lives.

    Connections, looked-up names, robots.txt files, turns at hosts and the state of the network are kept from
    one URL to the next, so a worker process has one for all its shards.
    """

    def __init__(self, options: DownloadOptions) -> None:
        self._options = options
        self._allowed = parse_allowed_hosts(options.allow_hosts)
        self._resolver = PublicResolver(self._allowed, options.dns_servers, 0.9 * options.connect_timeout)
        self._network = Network(self._resolver, options.connect_timeout, options.network_patience)
        self._hosts = Hosts(options.host_concurrency, options.host_rate, options.max_retry_after)
        self._client = Client(options, self._resolver, self._on_head)
        self._robots = RobotsTxt(self._get_robots, options.user_agent) if options.robots_txt else None

    async def fetch(self, url: str, seed: str) -> Fetched:
        """Ask for ``url`` until it answers, fails for good, or has been tried ``options.attempts`` times.

        ``seed`` (the pair's uid) decides the jitter of the waits in between. Nothing that a server does, or
        that a URL says, raises; NetworkGoneError is raised when the network stays gone.
        """
        try:
            start = parse_url(url, self._allowed)
        except FetchError as failure:
            return _fetched(_Outcome(None, failure, RedirectTrail(), 0))
        return _fetched(await self._insist(start, seed, self._image))

    async def close(self) -> None:
        """End what is under way."""
        if self._robots is not None:
            await self._robots.close()
        await self._network.close()
        await self._client.close()
        await self._resolver.close()

    async def _insist(self, url: URL, seed: str, ask: Callable[[URL, RedirectTrail], Awaitable[bytes]]) -> _Outcome:
        """Attempts, until one is an answer, or no other can be or is left."""
        attempts = interruptions = 0
        last: _Outcome | None = None
        while True:
            await self._network.ready()
            began = time.monotonic()
            trail = RedirectTrail()
            try:
                return _Outcome(await ask(url, trail), None, trail, attempts + 1)
            except FetchError as error:
                failure = error
            if interruptions < _MAX_INTERRUPTIONS and not await self._network.is_alive(
                began, time.monotonic(), failure, url
            ):
                interruptions += 1
                continue
            if last is not None and not trail.asked:
                return last
            attempts += trail.asked
            last = _Outcome(None, failure, trail, attempts)
            if failure.is_final or attempts >= self._options.attempts:
                return last
            await asyncio.sleep(backoff_seconds(seed, attempts))

    async def _image(self, url: URL, trail: RedirectTrail) -> bytes:
        """One attempt at an image's URL."""
        return await self._follow(url, trail, self._take_image, self._options.max_redirects, heeds_robots=True)

    async def _robots_txt(self, url: URL, trail: RedirectTrail) -> bytes:
        """One attempt at a robots.txt; no status of 400 to 499 but 429 is a failure of it."""
        return await self._follow(url, trail, self._take_robots, _ROBOTS_REDIRECTS, heeds_robots=False)

    async def _follow(
        self, start: URL, trail: RedirectTrail, take: ReadBody, max_redirects: int, heeds_robots: bool
    ) -> bytes:
        """Follow redirects, each hop checked as the first one, to what ``take`` reads of the last."""
        hop = start
        for _ in range(max_redirects + 1):
            if heeds_robots and self._robots is not None:
                await self._heed(self._robots, hop, trail)
            host = host_of(hop)
            await self._hosts.turn(host)
            try:
                came = await self._client.get(hop, trail, take)
            finally:
                self._hosts.release(host)
            if isinstance(came, bytes):
                return came
            hop = parse_redirect(hop, came, self._allowed)
        raise FetchError(ErrorClass.TOO_MANY_REDIRECTS, f"more than {max_redirects} redirects")

    async def _take_image(self, response: aiohttp.ClientResponse, trail: RedirectTrail) -> str | bytes:
        location = redirect_of(response)
        if location is None and not 200 <= response.status < 300:
            raise _status_failure(response.status)
        trail.consent = header_opt_out(response.headers, self._options.user_agent)
        if trail.consent is not None:
            raise FetchError(ErrorClass.OPTED_OUT, "the answer's headers forbid the use of the image")
        if location is not None:
            return location
        trail.consent = Consent.ALLOWED
        body = await read_body(response, self._options.max_bytes)
        if not body:
            raise FetchError(ErrorClass.EMPTY_BODY, "an empty body")
        return body

    async def _take_robots(self, response: aiohttp.ClientResponse, trail: RedirectTrail) -> str | bytes:
        if (location := redirect_of(response)) is not None:
            return location
        if response.status == 429 or response.status >= 500:
            raise _status_failure(response.status)
        start = await read_start(response, MAX_ROBOTS_BYTES) if response.status < 300 else b""
        return decoded(start, trail.content_encoding, MAX_ROBOTS_BYTES)

    async def _get_robots(self, url: URL) -> RobotsAnswer:
        """What `RobotsTxt` asks with: the same way as for an image, its attempts and waits included."""
        ended = await self._insist(url, str(url), self._robots_txt)
        if ended.failure is None:
            return RobotsAnswer(ended.trail.http_status, ended.body or b"")
        return RobotsAnswer(ended.http_status, b"", ended.failure.error_class, str(ended.failure))

    @staticmethod
    async def _heed(robots: RobotsTxt, url: URL, trail: RedirectTrail) -> None:
        try:
            is_allowed = await robots.allows(url)
        except RobotsUnreachableError as error:
            raise FetchError(
                error.error_class, str(error), error.http_status, error.retryable, is_final=True
            ) from error
        if not is_allowed:
            trail.consent = Consent.ROBOTS_TXT
            raise FetchError(ErrorClass.OPTED_OUT, "robots.txt disallows the URL")

    def _on_head(self, response: aiohttp.ClientResponse, began: float) -> None:
        """A server has begun to answer a request that began at ``began``, within its host's turn."""
        host = host_of(response.url)
        self._network.answered(began, host)
        seconds = None
        if response.status in _BUSY_STATUSES:
            seconds = retry_after_seconds(response.headers.get("Retry-After"), _now())
        if seconds:
            self._hosts.pause(host, seconds, response.status)
        else:
            self._hosts.resume(host)


def open_fetcher(options: DownloadOptions) -> Fetcher:
    """A fetcher on the loop that runs. Raises InputError for options that name no host or name server."""
    return Fetcher(options)


def _status_failure(status: int) -> FetchError:
    return FetchError(ErrorClass.HTTP_ERROR, f"HTTP status {status}", status)


def _fetched(outcome: _Outcome) -> Fetched:
    failure, trail = outcome.failure, outcome.trail
    return Fetched(
        body=outcome.body,
        final_url=trail.final_url,
        http_status=outcome.http_status,
        content_type=trail.content_type,
        content_encoding=trail.content_encoding,
        attempts=outcome.attempts,
        fetched_at=_now(),
        consent=trail.consent,
        error_class=failure.error_class if failure else None,
        error_message=encodable(str(failure)) if failure else None,
        retryable=failure is not None and failure.retryable,
    )


def _now() -> datetime:
    return datetime.now(timezone.utc)
