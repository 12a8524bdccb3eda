"""The two ways in which the network can die, each with its breaker: names and connections."""

from __future__ import annotations

import asyncio

from yarl import URL

from clipsieve.pipelines.fetch.breaker import Breaker, Evidence
from clipsieve.pipelines.fetch.failure import NO_ROUTE, Doubt, FetchError, ResolveError
from clipsieve.pipelines.fetch.hosts import Host, host_of
from clipsieve.pipelines.fetch.resolver import PublicResolver


class Network:
    """Says whether a failure is the network's. It belongs to one event loop."""

    def __init__(self, resolver: PublicResolver, connect_timeout: float, patience: float) -> None:
        self._resolver = resolver
        self._connect_timeout = connect_timeout
        self._names: Breaker[str] = Breaker("no name server answers", resolver.probe, patience)
        self._connections: Breaker[Host] = Breaker("the network is gone", self._probe, patience)
        resolver.on_answer = self._names.answered

    def answered(self, began: float, host: Host) -> None:
        """``host`` answered a request that began at ``began``."""
        self._connections.answered(began, host)

    async def ready(self) -> None:
        """Wait while the network is gone. Raises NetworkGoneError when it stays so."""
        await self._names.ready()
        await self._connections.ready()

    async def is_alive(self, began: float, failed_at: float, failure: FetchError, url: URL) -> bool:
        """Whether the network lived through an attempt at ``url`` that ended in ``failure``; if not, it is back.

        Raises NetworkGoneError when it stays gone.
        """
        host = host_of(url)
        if failure.doubt is Doubt.NAMES:
            return await self._names.is_alive(began, failed_at, host[0], failure.is_telling)
        if failure.doubt is Doubt.CONNECTIONS:
            return await self._connections.is_alive(began, failed_at, host, failure.is_telling)
        return True

    async def close(self) -> None:
        await self._names.close()
        await self._connections.close()

    async def _probe(self, host: Host) -> Evidence:
        """Whether a connection to ``host`` is made; nothing is asked on it."""
        try:
            found = await self._resolver.resolve(*host)
        except ResolveError as error:
            return Evidence.NO_NETWORK if error.failure.doubt else Evidence.SILENCE
        results = await asyncio.gather(*(self._connect(one["host"], host[1]) for one in found))
        return next((one for one in (Evidence.ANSWER, Evidence.SILENCE) if one in results), Evidence.NO_NETWORK)

    async def _connect(self, address: str, port: int) -> Evidence:
        try:
            opened = asyncio.open_connection(address, port)
            _, writer = await asyncio.wait_for(opened, self._connect_timeout)
        except (OSError, asyncio.TimeoutError) as error:
            return Evidence.NO_NETWORK if getattr(error, "errno", None) in NO_ROUTE else Evidence.SILENCE
        writer.close()
        return Evidence.ANSWER
