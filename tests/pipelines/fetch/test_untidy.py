"""What urllib reads is read, whatever its grammar, in whatever pieces it comes; what is ambiguous is not."""

from __future__ import annotations

import asyncio
import urllib.request
from http.client import HTTPException

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.fetch.untidy import Unchunker, end_of_head, tidy_head
from clipsieve.schemas.outcomes import Consent, ErrorClass
from tests.pipelines.fetch.answers import BODY, CHUNKED, LENGTH, REFUSED, UNTIDY, chunked, sent
from tests.pipelines.fetch.fetching import UID, fetching
from tests.pipelines.fetch.raw_server import RawServer, answer


class InPieces(RawServer):
    """Sends its answers in pieces of ``size`` bytes, each by itself."""

    def __init__(self, answers, size):
        super().__init__(answers)
        self._size = size

    async def _send(self, writer, reply):
        for start in range(0, len(reply), self._size):
            writer.write(reply[start : start + self._size])
            await writer.drain()
            await asyncio.sleep(0)


def fetch_all(answers, server=RawServer, **options):
    """Fetch each of ``answers``, a dict, by its name; returns what came by name."""

    async def asked():
        names = list(answers)
        async with (
            server(lambda path: answers[names[int(path[1:])]]) as web,
            fetching(web.host, read_timeout=2, total_timeout=20, **options) as fetcher,
        ):
            urls = [f"http://{web.host}/{number}" for number in range(len(names))]
            by_us = await asyncio.gather(*(fetcher.fetch(url, UID) for url in urls))
            by_urllib = [await asyncio.to_thread(_by_urllib, url) for url in urls]
            return dict(zip(names, by_us, strict=True)), dict(zip(names, by_urllib, strict=True))

    return asyncio.run(asked())


def _by_urllib(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.read()
    except (OSError, HTTPException, OverflowError, ValueError):
        return None


def test_no_answer_is_lost_that_urllib_reads():
    assert len(UNTIDY) >= 25
    by_us, by_urllib = fetch_all(UNTIDY)
    assert {name: body == BODY for name, body in by_urllib.items()} == dict.fromkeys(UNTIDY, True)
    assert {name: fetched.error_message for name, fetched in by_us.items() if fetched.body != BODY} == {}


@pytest.mark.parametrize("size", [1, 7, 100])
def test_it_is_read_in_whatever_pieces_it_comes(size):
    by_us, _ = fetch_all(UNTIDY, lambda answers: InPieces(answers, size))
    assert {name: fetched.error_message for name, fetched in by_us.items() if fetched.body != BODY} == {}


def test_what_is_ambiguous_cut_off_or_without_bounds_stays_an_error():
    by_us, _ = fetch_all(REFUSED, max_bytes=50_000)
    assert {name: fetched.body for name, fetched in by_us.items()} == dict.fromkeys(REFUSED)
    cut = {name for name, fetched in by_us.items() if fetched.error_class is ErrorClass.CONNECTION_ERROR}
    assert cut == {"a head that is cut off", "a body that ends early", "chunks that end early"}
    others = {fetched.error_class for name, fetched in by_us.items() if name not in cut}
    assert others <= {ErrorClass.PROTOCOL_ERROR, ErrorClass.TOO_LARGE}


def test_the_bounds_hold_for_an_untidy_answer_too():
    body = bytes(101)
    replies = {
        "announced": sent(b"garbage", b"Content-Length: 101", body=body),
        "sent": sent(b"garbage", body=body),
        "in chunks": sent(CHUNKED, body=b"65;\x01\r\n" + body + b"\r\n0\r\n\r\n"),
    }
    by_us, _ = fetch_all(replies, max_bytes=100)
    assert {fetched.error_class for fetched in by_us.values()} == {ErrorClass.TOO_LARGE}
    by_us, _ = fetch_all(replies, max_bytes=101)
    assert {fetched.body for fetched in by_us.values()} == {body}


def test_a_server_that_stops_in_an_untidy_head_is_left_at_the_deadline():
    async def asked():
        async with (
            RawServer([b"HTTP/1.1 200 OK\r\ngarbage\r\n"], then="linger") as web,
            fetching(web.host, read_timeout=1) as fetcher,
        ):
            return await fetcher.fetch(f"http://{web.host}/", UID)

    assert asyncio.run(asked()).error_class is ErrorClass.TIMEOUT


@pytest.mark.parametrize("name", ["a line without a colon", "a chunk's extension of garbage"])
def test_the_connection_is_closed_after_an_untidy_answer(name):
    async def asked():
        replies = [answer(), UNTIDY[name], answer()]
        async with RawServer(replies, then="keep") as web, fetching(web.host, host_concurrency=1) as fetcher:
            for _ in replies:
                fetched = await fetcher.fetch(f"http://{web.host}/", UID)
                assert fetched.body
            return web.connections

    assert asyncio.run(asked()) == 2


def test_the_wishes_in_an_untidy_head_are_heard():
    replies = {
        "before a space": sent(b"X-Robots-Tag : noai", LENGTH),
        "after garbage": sent(b"garbage", b"X-Robots-Tag: noai", LENGTH),
        "folded": sent(b"garbage", b"X-Robots-Tag: all,", b"\tnoai", LENGTH),
        "with a NUL": sent(b"X-Robots-Tag: noai\x00", LENGTH),
    }
    by_us, _ = fetch_all(replies)
    assert {fetched.consent for fetched in by_us.values()} == {Consent.X_ROBOTS_TAG}


def test_an_untidy_redirect_is_judged_as_any():
    replies = {"in": sent(b"garbage", b"Location: http://10.0.0.1/", status=b"HTTP/1.2 302 Found")}
    by_us, _ = fetch_all(replies)
    assert by_us["in"].error_class is ErrorClass.FORBIDDEN_ADDRESS


LINES = st.binary(max_size=20) | st.sampled_from([LENGTH, CHUNKED, b"A: b", b" folded", b"garbage", b": x"])


@given(st.lists(LINES, max_size=6))
def test_a_tidied_head_is_tidy(lines):
    tidied = tidy_head(b"\r\n".join([b"HTTP/1.2 200 OK", *lines, b"", b""]))
    if tidied is not None:
        assert tidied == tidy_head(tidied)
        assert end_of_head(tidied) == len(tidied)
        assert all(b":" in line for line in tidied.split(b"\r\n")[1:-2])


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(1, 9), min_size=1))
def test_chunks_are_read_in_whatever_pieces_they_come(chunks, sizes):
    data = b"".join(b"%x ; \xff\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\ntrailer\r\n\r\n"
    reader, body, at = Unchunker(), b"", 0
    while at < len(data):
        assert not reader.is_whole
        size = sizes[at % len(sizes)]
        body += reader.feed(data[at : at + size])
        at += size
    assert reader.is_whole and body == b"".join(chunks)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(UNTIDY)), st.integers(0, 60), st.binary(max_size=3))
def test_no_change_of_an_untidy_answer_is_an_exception(name, place, bytes_put_in):
    reply = UNTIDY[name][:place] + bytes_put_in + UNTIDY[name][place:]
    by_us, _ = fetch_all({"changed": reply})
    assert (by_us["changed"].body is None) == (by_us["changed"].error_class is not None)


def test_tidy_chunks_are_not_read_twice():
    by_us, _ = fetch_all({"tidy": sent(CHUNKED, body=chunked())})
    assert by_us["tidy"].body == BODY
