from __future__ import annotations

import asyncio

import pytest

from clipsieve.pipelines.fetch import resolver as resolver_module
from clipsieve.pipelines.fetch.breaker import Evidence
from clipsieve.pipelines.fetch.failure import ResolveError
from clipsieve.pipelines.fetch.resolver import PublicResolver
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.outcomes import ErrorClass
from tests.pipelines.fetch.name_server import SILENCE, name_server

ZONE = {
    "public.example": ["8.8.8.8", "2606:4700::1"],
    "mixed.example": ["127.0.0.1", "8.8.8.8", "10.0.0.1", "::1"],
    "private.example": ["10.0.0.1", "::ffff:127.0.0.1"],
    "alias.example": ["cname:private.example", "10.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "no-address.example": [],
    "broken.example": "SERVFAIL",
    "refused.example": "REFUSED",
    "silent.example": SILENCE,
    "xn--caf-dma.example": ["8.8.4.4"],
    "many.example": [f"8.8.8.{number}" for number in range(30)],
    "localhost": ["8.8.8.8"],
}


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def resolving(use, zone=ZONE, allowed=frozenset(), timeout=4.0):
    """``await use(resolver, server, clock)`` next to a name server of ``zone``."""

    async def main():
        async with name_server(dict(zone)) as server:
            clock = Clock()
            resolver = PublicResolver(allowed, [server.address], timeout, clock)
            try:
                return await use(resolver, server, clock)
            finally:
                await resolver.close()

    return asyncio.run(main())


async def addresses(resolver, host, port=80):
    return {one["host"] for one in await resolver.resolve(host, port)}


async def failure(resolver, host):
    with pytest.raises(ResolveError) as caught:
        await resolver.resolve(host, 80)
    return caught.value.failure


def test_only_public_addresses_are_handed_out():
    async def use(resolver, server, clock):
        assert await addresses(resolver, "public.example") == {"8.8.8.8", "2606:4700::1"}
        assert await addresses(resolver, "mixed.example") == {"8.8.8.8"}
        assert await addresses(resolver, "xn--caf-dma.example") == {"8.8.4.4"}
        assert len(await addresses(resolver, "many.example")) == 8
        for host in ("private.example", "alias.example", "metadata.example", "localhost", "a.localhost"):
            error = await failure(resolver, host)
            assert (error.error_class, error.retryable) == (ErrorClass.FORBIDDEN_ADDRESS, False)

    resolving(use)


def test_a_host_that_the_user_allows_may_be_anywhere_at_its_port_alone():
    async def use(resolver, server, clock):
        assert await addresses(resolver, "private.example", 8080) == {"10.0.0.1", "::ffff:127.0.0.1"}
        return await failure(resolver, "private.example")

    error = resolving(use, allowed=frozenset({("private.example", 8080)}))
    assert error.error_class is ErrorClass.FORBIDDEN_ADDRESS


def test_a_name_that_changes_its_answer_gains_nothing():
    async def use(resolver, server, clock):
        assert await addresses(resolver, "public.example") == {"8.8.8.8", "2606:4700::1"}
        server.zone["public.example"] = ["127.0.0.1"]
        assert await addresses(resolver, "public.example") == {"8.8.8.8", "2606:4700::1"}
        clock.now += 61
        await resolver._channel.close()
        resolver._channel = resolver._open_channel()  # which has a cache of its own, by the real clock
        return await failure(resolver, "public.example")

    assert resolving(use).error_class is ErrorClass.FORBIDDEN_ADDRESS


@pytest.mark.parametrize(
    ("host", "message", "retryable"),
    [
        ("missing.example", "no such host", False),
        ("no-address.example", "no such host", False),
        ("a..b.example", "no such host", False),
        ("a" * 64 + ".example", "no such host", False),
        ("www.invalid", "no such host", False),
        ("broken.example", "the name servers fail to look it up", True),
        ("refused.example", "the name servers fail to look it up", True),
    ],
)
def test_a_name_that_does_not_exist_is_final_and_one_that_is_not_looked_up_is_not(host, message, retryable):
    async def use(resolver, server, clock):
        return await failure(resolver, host)

    error = resolving(use)
    error_class = ErrorClass.DNS_ERROR if retryable else ErrorClass.HOST_NOT_FOUND
    assert (error.error_class, str(error), error.retryable) == (error_class, message, retryable)
    assert error.is_final is not retryable


def test_silence_is_a_failure_that_may_pass():
    async def use(resolver, server, clock):
        return await failure(resolver, "silent.example")

    error = resolving(use, timeout=1.0)
    assert error.error_class is ErrorClass.DNS_ERROR
    assert error.retryable
    assert error.doubt is not None


def test_many_who_ask_at_once_cause_one_question_and_answers_are_kept():
    async def use(resolver, server, clock):
        await asyncio.gather(*(resolver.resolve("public.example", port) for port in range(1, 200)))
        await asyncio.gather(*(failure(resolver, "missing.example") for _ in range(50)))
        assert server.asked["public.example"] == server.asked["missing.example"] == 2  # A and AAAA
        await failure(resolver, "broken.example")
        asked = server.asked["broken.example"]
        await failure(resolver, "broken.example")
        assert server.asked["broken.example"] == 2 * asked

    resolving(use)


def test_no_more_names_are_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(resolver_module, "_MAX_NAMES", 10)

    async def use(resolver, server, clock):
        for number in range(40):
            await failure(resolver, f"{number}.example")
            await addresses(resolver, "public.example")
        return len(resolver._found), server.asked["public.example"]

    assert resolving(use) == (10, 2)


def test_who_is_told_of_answers_hears_of_names_that_do_not_exist_too_but_not_of_the_hosts_file():
    async def use(resolver, server, clock):
        heard = []
        resolver.on_answer = lambda began, name: heard.append((began, name))
        await addresses(resolver, "public.example")
        for host in ("missing.example", "broken.example", "localhost"):
            await failure(resolver, host)
        return heard

    assert resolving(use) == [(1000.0, "public.example"), (1000.0, "missing.example")]


@pytest.mark.parametrize(
    ("name", "zone", "evidence"),
    [
        ("public.example", {}, Evidence.ANSWER),
        ("missing.example", {}, Evidence.ANSWER),
        ("broken.example", {}, Evidence.SILENCE),
        ("silent.example", {}, Evidence.SILENCE),
        ("broken.example", {".": "SERVFAIL"}, Evidence.NO_NETWORK),
        ("silent.example", {".": SILENCE}, Evidence.NO_NETWORK),
    ],
)
def test_a_probe_tells_a_dead_name_from_a_dead_name_server(name, zone, evidence):
    async def use(resolver, server, clock):
        return await resolver.probe(name)

    assert resolving(use, ZONE | zone, timeout=1.0) is evidence


def test_a_probe_of_a_closed_port_finds_no_network():
    async def use(resolver, server, clock):
        await addresses(resolver, "public.example")
        server.close()
        return await resolver.probe("public.example")

    assert resolving(use) is Evidence.NO_NETWORK


@pytest.mark.parametrize("server", ["dns.example", "1.2.3.4:http", "", "[::1"])
def test_a_name_server_is_an_address(server):
    async def main():
        with pytest.raises(InputError, match="dns_servers"):
            PublicResolver(frozenset(), [server], 1.0)

    asyncio.run(main())
