"""The network, or the name servers, die and come back: rows end as if they never had."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from clipsieve.pipelines.fetch import breaker
from clipsieve.pipelines.fetch.fetcher import open_fetcher
from clipsieve.schemas.errors import NetworkGoneError
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import ErrorClass
from tests.pipelines.fetch.name_server import SILENCE, name_server
from tests.pipelines.fetch.raw_server import RawServer, answer

UID = "0" * 32
ROWS = 12


@pytest.fixture(autouse=True)
def haste(monkeypatch):
    """Pauses of a tenth of their length."""
    for name in ("_MOMENT", "_FIRST_PAUSE", "_LONGEST_PAUSE"):
        monkeypatch.setattr(breaker, name, getattr(breaker, name) / 10)


@asynccontextmanager
async def web(zone=None, **options):
    """Two servers, whose names a.example and b.example a third one knows, and a fetcher that may go there."""
    zone = {f"{name}.example": ["127.0.0.1"] for name in ("a", "b", *range(ROWS))} | (zone or {})
    async with name_server(zone) as names, RawServer([answer()]) as one, RawServer([answer()]) as other:
        allowed = [f"{host}:{server.port}" for host in zone for server in (one, other)]
        values = {"attempts": 2, "connect_timeout": 2, "robots_txt": False, "dns_servers": (names.address,), **options}
        fetcher = open_fetcher(DownloadOptions(allow_hosts=tuple(allowed), **values))
        try:
            yield fetcher, names, (one, other)
        finally:
            await fetcher.close()


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def fetch_all(fetcher, hosts, servers):
    urls = [f"http://{host}:{servers[number % 2].port}/{number}" for number, host in enumerate(hosts)]
    return asyncio.gather(*(fetcher.fetch(url, UID) for url in urls))


@pytest.mark.parametrize("robots_txt", [False, True])
def test_servers_that_cannot_be_reached_for_a_while(robots_txt):
    async def main():
        async with web(robots_txt=robots_txt) as (fetcher, _, servers):
            before = await fetch_all(fetcher, ["a.example", "b.example"], servers)
            for server in servers:
                server.close()
            rows = fetch_all(fetcher, ["a.example", "b.example"] * 6, servers)
            await until(lambda: fetcher._network._connections._is_gone)
            for server in servers:
                await server.open()
            return before, await rows

    before, after = asyncio.run(main())
    assert {(row.body, row.attempts) for row in [*before, *after]} == {(b"bytes", 1)}


@pytest.mark.parametrize("death", ["closed", "silent", "failing"])
def test_name_servers_that_die_for_a_while(death):
    async def main():
        async with web(connect_timeout=1 if death == "silent" else 2) as (fetcher, names, servers):
            await fetch_all(fetcher, ["a.example"], servers)
            alive = dict(names.zone)
            if death == "closed":
                names.close()
            else:
                names.zone.update(dict.fromkeys(alive, SILENCE if death == "silent" else "SERVFAIL"))
            rows = fetch_all(fetcher, [f"{number}.example" for number in range(ROWS)], servers)
            await until(lambda: fetcher._network._names._is_gone)
            names.zone.update(alive)
            if death == "closed":
                await names.open()
            return await rows

    assert {(row.body, row.attempts) for row in asyncio.run(main())} == {(b"bytes", 1)}


def test_a_job_may_begin_before_its_name_servers_do():
    async def main():
        async with web() as (fetcher, names, servers):
            names.close()
            rows = fetch_all(fetcher, [f"{number}.example" for number in range(ROWS)], servers)
            await until(lambda: fetcher._network._names._is_gone)
            await names.open()
            return await rows

    assert {(row.body, row.attempts) for row in asyncio.run(main())} == {(b"bytes", 1)}


def test_name_servers_that_stay_dead_end_the_job():
    async def main():
        async with web(network_patience=0.5) as (fetcher, names, servers):
            names.close()
            return await asyncio.gather(
                fetch_all(fetcher, ["a.example", "b.example", "0.example"], servers), return_exceptions=True
            )

    (error,) = asyncio.run(main())
    assert isinstance(error, NetworkGoneError)
    assert "\n" not in str(error)


@pytest.mark.parametrize("robots_txt", [False, True])
def test_a_host_that_is_dead_beside_living_ones_is_a_failure_of_its_own(robots_txt):
    async def main():
        zone = {"broken.example": "SERVFAIL", "silent.example": SILENCE}
        async with web(zone, robots_txt=robots_txt, connect_timeout=1) as (fetcher, _, servers):
            await fetch_all(fetcher, ["a.example", "b.example"], servers)
            servers[1].close()
            return await fetch_all(fetcher, ["a.example", "1.example", "broken.example", "silent.example"], servers)

    alive, dead, broken, silent = asyncio.run(main())
    assert alive.body == b"bytes"
    assert dead.error_class is ErrorClass.CONNECTION_ERROR
    assert broken.error_class is silent.error_class is ErrorClass.DNS_ERROR
    assert {(row.attempts, row.retryable) for row in (dead, broken, silent)} == {(0 if robots_txt else 2, True)}


def test_one_server_that_stays_away_is_believed_dead_and_its_rows_fail(monkeypatch):
    monkeypatch.setattr(breaker, "_SOFT_PATIENCE", 0.5)

    async def main():
        async with web() as (fetcher, _, servers):
            await fetch_all(fetcher, ["a.example"], servers)
            servers[0].close()
            return await asyncio.gather(*(fetcher.fetch(f"http://a.example:{servers[0].port}/", UID) for _ in range(9)))

    rows = asyncio.run(main())
    assert {(row.error_class, row.attempts, row.retryable) for row in rows} == {(ErrorClass.CONNECTION_ERROR, 2, True)}


def test_no_connection_is_made_to_where_a_name_may_not_lead():
    """The second server stands for what is behind the wall."""
    hidden = {"private.example": ["127.0.0.1", "::1"], "alias.example": ["cname:private.example", "127.0.0.1"]}

    async def main():
        async with web() as (fetcher, names, (_, secret)):
            names.zone.update(hidden)
            urls = [f"http://{host}:{secret.port}/" for host in [*hidden, "localhost"]]
            return [await fetcher.fetch(url, UID) for url in urls], secret.connections

    rows, connections = asyncio.run(main())
    assert {row.error_class for row in rows} == {ErrorClass.FORBIDDEN_ADDRESS}
    assert connections == 0
