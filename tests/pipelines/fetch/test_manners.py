"""How a fetcher treats a host: its robots.txt, its pauses, its turns, its connections."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections import Counter

import pytest

from clipsieve.schemas.outcomes import Consent, ErrorClass
from tests.pipelines.fetch.fetching import UID, fetching
from tests.pipelines.fetch.raw_server import RawServer, answer


def test_a_host_that_asks_for_a_long_pause_is_left_alone_by_its_other_rows_too():
    async def asked():
        later = answer("503 Later", Retry_After="86400")
        async with RawServer([later]) as server, fetching(server.host, attempts=3) as fetcher:
            rows = [await fetcher.fetch(f"http://{server.host}/{n}", UID) for n in range(3)]
            return rows, server.paths

    rows, paths = asyncio.run(asked())
    assert paths == ["/0"]
    assert [row.attempts for row in rows] == [1, 0, 0]
    assert {(row.error_class, row.http_status, row.retryable) for row in rows} == {(ErrorClass.HTTP_ERROR, 503, True)}


def test_waiting_for_a_turn_is_no_part_of_an_attempts_time():
    """Twenty rows of 0.2 s each one after the other take longer than the 3 s that each of them has."""

    async def asked():
        limits = {"host_concurrency": 1, "host_rate": 5, "total_timeout": 3}
        async with RawServer([answer()]) as server, fetching(server.host, **limits) as fetcher:
            return await asyncio.gather(*(fetcher.fetch(f"http://{server.host}/{n}", UID) for n in range(20)))

    assert {row.body for row in asyncio.run(asked())} == {b"bytes"}


def test_a_connection_serves_one_row_after_another():
    async def asked():
        async with RawServer([answer()], then="keep") as server, fetching(server.host) as fetcher:
            for number in range(20):
                assert (await fetcher.fetch(f"http://{server.host}/{number}", UID)).body == b"bytes"
            return server.connections, len(server.requests)

    assert asyncio.run(asked()) == (1, 20)


ROBOTS = answer(body=b"User-agent: *\nDisallow: /private/\n")


def ask_site(reply, paths, **options):
    """Fetch ``paths`` of a site, one after the other, robots.txt heeded; returns what came of them and the server."""

    async def asked():
        async with RawServer(reply) as server, fetching(server.host, robots_txt=True, **options) as fetcher:
            return [await fetcher.fetch(f"http://{server.host}{path}", UID) for path in paths], server

    return asyncio.run(asked())


def test_robots_txt_is_asked_for_once_and_heeded():
    (public, private), server = ask_site(
        lambda path: ROBOTS if path == "/robots.txt" else answer(), ["/a.png", "/private/a.png"], host_concurrency=1
    )
    assert (public.body, public.consent) == (b"bytes", Consent.ALLOWED)
    assert (private.error_class, private.consent) == (ErrorClass.OPTED_OUT, Consent.ROBOTS_TXT)
    assert (private.attempts, private.retryable) == (0, False)
    assert server.paths == ["/robots.txt", "/a.png"]


def test_robots_txt_is_heeded_at_each_hop():
    pages = {"/robots.txt": ROBOTS, "/a.png": answer("302 Found", Location="/private/a.png")}
    (row,), server = ask_site(pages.get, ["/a.png"])
    assert (row.error_class, row.consent, row.attempts) == (ErrorClass.OPTED_OUT, Consent.ROBOTS_TXT, 1)
    assert server.paths == ["/robots.txt", "/a.png"]


def test_robots_txt_may_redirect_and_be_missing():
    moved = answer("301 Moved", Location="/elsewhere.txt")
    pages = {"/robots.txt": moved, "/elsewhere.txt": ROBOTS}
    (row,), _ = ask_site(pages.get, ["/private/a.png"])
    assert row.consent is Consent.ROBOTS_TXT
    missing, _ = ask_site(lambda path: answer("404 No") if "robots" in path else answer(), ["/private/a.png"])
    assert missing[0].body == b"bytes"


def test_another_spelling_of_a_path_is_no_way_around_robots_txt():
    paths = ["/a/../private/a.png", "/a/%2e%2e/private/a.png", "/%70rivate/a.png", "/./private/a.png?b"]
    rows, server = ask_site(lambda path: ROBOTS if path == "/robots.txt" else answer(), paths)
    assert {row.consent for row in rows} == {Consent.ROBOTS_TXT}
    assert server.paths == ["/robots.txt"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_robots_txt_that_comes_packed_is_unpacked(coding):
    rules = b"User-agent: *\nDisallow: /private/\n"
    packed = answer(body=gzip.compress(rules) if coding == "gzip" else zlib.compress(rules), Content_Encoding=coding)
    rows, _ = ask_site(lambda path: packed if path == "/robots.txt" else answer(), ["/a.png", "/private/a.png"])
    assert [row.consent for row in rows] == [Consent.ALLOWED, Consent.ROBOTS_TXT]


def test_only_the_first_half_megabyte_of_a_robots_txt_is_read():
    late = b"# " + b"x" * (500 * 1024) + b"\nUser-agent: *\nDisallow: /\n"
    (row,), _ = ask_site(lambda path: answer(body=late) if "robots" in path else answer(), ["/a.png"], max_bytes=100)
    assert row.body == b"bytes"


def test_a_robots_txt_that_cannot_be_had_is_a_failure_that_may_pass_and_is_tried_again():
    asked: Counter[str] = Counter()

    def reply(path):
        asked[path] += 1
        return answer("503 Later") if path == "/robots.txt" else answer()

    (row, other), _ = ask_site(reply, ["/a.png", "/b.png"], attempts=2)
    assert asked == {"/robots.txt": 2}
    for fetched in (row, other):
        assert (fetched.error_class, fetched.http_status, fetched.retryable) == (ErrorClass.HTTP_ERROR, 503, True)
        assert (fetched.attempts, fetched.consent) == (0, None)
        assert fetched.error_message == "robots.txt: HTTP status 503"
    passing = iter([answer("503 Later"), ROBOTS, answer()])
    (row,), _ = ask_site(lambda path: next(passing), ["/a.png"], attempts=2)
    assert (row.body, row.attempts) == (b"bytes", 1)
