"""Name resolution that hands out public addresses only: what it returns is what the connection is made to."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import aiodns
import pycares
from aiohttp.abc import AbstractResolver, ResolveResult
from pycares import errno as ares

from clipsieve.pipelines.fetch.addresses import AllowedHosts, is_public
from clipsieve.pipelines.fetch.breaker import Evidence
from clipsieve.pipelines.fetch.failure import Doubt, FetchError, ResolveError
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.outcomes import ErrorClass

_MAX_NAMES = 16_384
_MAX_ADDRESSES = 8  # of one name; each may cost a connection attempt
_TTL_SECONDS = (30.0, 300.0)
_NEGATIVE_TTL_SECONDS = 30.0

_NO_SUCH_NAME = frozenset({ares.ARES_ENOTFOUND, ares.ARES_ENODATA, ares.ARES_EBADNAME})
_NO_SERVER = frozenset({ares.ARES_ECONNREFUSED, ares.ARES_ETIMEOUT})


@dataclass(frozen=True)
class _Found:
    """What a lookup found out of a name: its addresses, or that there are none, or why that is not known."""

    addresses: tuple[str, ...]
    expires: float
    unknown: str | None = None


class PublicResolver(AbstractResolver):
    """Resolves names through the system's or the given name servers; /etc/hosts counts, search domains do not.

    aiohttp connects to the very addresses that `resolve` returns, so that a name cannot be looked up again with
    another answer in between (DNS rebinding). Answers are kept for their TTL, within bounds; that a name does
    not exist is kept briefly; that a server did not say is not kept. It belongs to one event loop.
    """

    def __init__(
        self,
        allowed: AllowedHosts,
        servers: Sequence[str],
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``servers``: ADDRESS[:PORT] of name servers, none for the system's; ``timeout``: seconds a lookup may take.

        Raises InputError for a server that is not an address.
        """
        self._allowed = allowed
        self._servers = list(servers)
        self._timeout = timeout
        self._clock = clock
        self._channel = self._open_channel()
        self._found: OrderedDict[str, _Found] = OrderedDict()
        self._asking: dict[str, asyncio.Task[_Found]] = {}
        self.on_answer: Callable[[float, str], None] = lambda began, name: None
        """Told of each name that a name server said something of, and of when it was asked."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of ``host`` that may be connected to at ``port``. Raises ResolveError where there is none."""
        found = await self._addresses(host)
        if (host.lower(), port) not in self._allowed:
            found = tuple(address for address in found if is_public(ip_address(address)))
        if not found:
            raise ResolveError(FetchError(ErrorClass.FORBIDDEN_ADDRESS, "the host has no public address"))
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=flags,
            )
            for address in found[:_MAX_ADDRESSES]
        ]

    async def probe(self, name: str) -> Evidence:
        """Whether the name servers still answer: for ``name``, which nothing kept answers for, or for the root."""
        channel = self._open_channel()
        try:
            await channel.getaddrinfo(name, type=socket.SOCK_STREAM)
            return Evidence.ANSWER
        except aiodns.error.DNSError as error:
            if error.args[0] in _NO_SUCH_NAME:
                return Evidence.ANSWER
        try:
            await channel.query_dns(".", "NS")
        except aiodns.error.DNSError as error:
            # That the root is not known says a server that has itself lost the network.
            if error.args[0] in _NO_SERVER or error.args[0] == ares.ARES_ESERVFAIL:
                return Evidence.NO_NETWORK
        finally:
            await channel.close()
        return Evidence.SILENCE

    async def close(self) -> None:
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._channel.close()

    async def _addresses(self, host: str) -> tuple[str, ...]:
        found = self._found.get(host)
        if found is None or found.expires <= self._clock():
            found = await self._ask_once(host)
        else:
            self._found.move_to_end(host)
        if found.unknown is not None:
            raise ResolveError(_no_answer(found.unknown))
        if not found.addresses:
            raise ResolveError(FetchError(ErrorClass.HOST_NOT_FOUND, "no such host"))
        return found.addresses

    async def _ask_once(self, host: str) -> _Found:
        """The outcome of the one lookup that all who ask meanwhile share; it goes on for those who come later."""
        task = self._asking.get(host)
        if task is None:
            task = self._asking[host] = asyncio.ensure_future(self._ask(host))
            task.add_done_callback(lambda _: self._asking.pop(host))
        done, _ = await asyncio.wait({task}, timeout=self._timeout)
        if not done:
            raise ResolveError(_no_answer("the name servers do not answer in time"))
        return task.result()

    async def _ask(self, host: str) -> _Found:
        began = self._clock()
        if host.rstrip(".").rpartition(".")[2].lower() == "invalid":  # never exists (RFC 6761, section 6.4)
            return self._keep(host, (), began + _NEGATIVE_TTL_SECONDS)
        try:
            answer = await self._channel.getaddrinfo(host, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            return self._unanswered(host, began, error.args[0])
        addresses = tuple(dict.fromkeys(node.addr[0].decode() for node in answer.nodes))
        ttl = min((node.ttl for node in answer.nodes), default=0)
        if ttl:  # /etc/hosts gives none, and says nothing of the name servers
            self.on_answer(began, host)
        shortest, longest = _TTL_SECONDS
        return self._keep(host, addresses, self._clock() + max(shortest, min(longest, ttl)))

    def _unanswered(self, host: str, began: float, code: int) -> _Found:
        if code == ares.ARES_EBADNAME:
            return self._keep(host, (), self._clock() + _NEGATIVE_TTL_SECONDS)
        if code in _NO_SUCH_NAME:
            self.on_answer(began, host)
            return self._keep(host, (), self._clock() + _NEGATIVE_TTL_SECONDS)
        reason = "the name servers do not answer" if code in _NO_SERVER else "the name servers fail to look it up"
        return _Found((), self._clock(), reason)

    def _keep(self, host: str, addresses: tuple[str, ...], expires: float) -> _Found:
        found = self._found[host] = _Found(addresses, expires)
        self._found.move_to_end(host)
        if len(self._found) > _MAX_NAMES:
            self._found.popitem(last=False)
        return found

    def _open_channel(self) -> aiodns.DNSResolver:
        try:
            if "" in self._servers:
                raise ValueError("an empty address")
            return aiodns.DNSResolver(
                nameservers=self._servers or None,
                timeout=self._timeout / 4,  # the second try waits twice as long
                tries=2,
                flags=pycares.ARES_FLAG_NOSEARCH,
            )
        except (pycares.AresError, ValueError) as error:
            raise InputError(
                f"`dns_servers`: {', '.join(self._servers)!r}: each is ADDRESS or ADDRESS:PORT, as 9.9.9.9"
            ) from error


def _no_answer(reason: str) -> FetchError:
    return FetchError(ErrorClass.DNS_ERROR, reason, doubt=Doubt.NAMES, is_telling=True)
