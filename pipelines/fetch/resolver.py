"""Name resolution that hands out public addresses only: what it returns is what the connection is made to."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from pipelines.fetch.addresses import AllowedHosts, is_public


class ForbiddenAddressError(OSError):
    """A host has no public address."""


class PublicResolver(AbstractResolver):
    """Resolves a name once per connection and drops every address that is not public.

    aiohttp connects to the very addresses returned here, so that a name cannot be looked up again with
    another answer in between (DNS rebinding).
    """

    def __init__(self, allowed: AllowedHosts, threads: int) -> None:
        self._allowed = allowed
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._pool, _look_up, host, port, family)
        if (host.lower(), port) not in self._allowed:
            found = [one for one in found if is_public(ip_address(one["host"]))]
        if not found:
            raise ForbiddenAddressError(f"{host} has no public address")
        return found

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    try:
        infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return [
        ResolveResult(hostname=host, host=address[0], port=port, family=found, proto=proto, flags=flags)
        for found, _, proto, _, address in infos
        if isinstance(address[0], str)
    ]
