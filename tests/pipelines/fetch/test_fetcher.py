from __future__ import annotations

import asyncio
from datetime import datetime, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipsieve.schemas.outcomes import Consent, ErrorClass
from tests.pipelines.fetch.fetching import UID, fetching
from tests.pipelines.fetch.raw_server import RawServer, answer, certified

CUT_SHORT = answer().replace(b"Length: 5", b"Length: 50")


def ask(*answers, path="/a.png", scheme="http", host="127.0.0.1", tls=None, then="close", **options):
    """Fetch a URL of a raw server; returns what came of it and the server."""

    async def asked():
        async with RawServer(answers, tls, then) as server, fetching(f"{host}:{server.port}", **options) as fetcher:
            return await fetcher.fetch(f"{scheme}://{host}:{server.port}{path}", UID), server

    return asyncio.run(asked())


def fetch_alone(url, **options):
    async def asked():
        async with fetching(*options.pop("hosts", ()), **options) as fetcher:
            return await fetcher.fetch(url, UID)

    return asyncio.run(asked())


def test_a_sound_answer_is_handed_over_whole():
    before = datetime.now(timezone.utc)
    fetched, server = ask(answer(body=b"\x89PNG", Content_Type="text/plain; x=é"), user_agent="Sieve_ling")
    assert (fetched.body, fetched.http_status, fetched.attempts) == (b"\x89PNG", 200, 1)
    assert fetched.content_type == "text/plain; x=é"
    assert fetched.final_url.endswith("/a.png")
    assert (fetched.error_class, fetched.retryable, fetched.consent) == (None, False, Consent.ALLOWED)
    assert before <= fetched.fetched_at <= datetime.now(timezone.utc)
    (request,) = server.requests
    assert "Accept-Encoding: identity" in request
    assert "User-Agent: Mozilla/5.0 (compatible; Sieve_ling)" in request
    assert "Cookie" not in request


@given(st.binary(min_size=1, max_size=300_000), st.integers(1, 1 << 16))
@settings(max_examples=10, deadline=None)
def test_any_body_arrives_as_it_was_sent_chunked_or_not(body, size):
    pieces = [body[start : start + size] for start in range(0, len(body), size)][:100]
    body = b"".join(pieces)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    chunked, _ = ask(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    whole, _ = ask(answer(body=body))
    to_the_end, _ = ask(b"HTTP/1.1 200 OK\r\n\r\n" + body)
    assert chunked.body == whole.body == to_the_end.body == body


def test_bytes_that_claim_to_be_compressed_are_not_unpacked():
    fetched, _ = ask(answer(body=b"\x1f\x8b not gzip", Content_Encoding="gzip"))
    assert fetched.body == b"\x1f\x8b not gzip"


def test_a_header_that_is_not_text_does_not_reach_the_tables():
    fetched, _ = ask(answer(Content_Type="image/\udcff"))
    assert fetched.content_type == "image/?"


@pytest.mark.parametrize(
    ("reply", "error_class", "status"),
    [
        (answer("404 Not Found"), ErrorClass.HTTP_ERROR, 404),
        (answer("304 Not Modified", b""), ErrorClass.HTTP_ERROR, 304),
        (answer("301 Moved"), ErrorClass.HTTP_ERROR, 301),
        (answer(body=b""), ErrorClass.EMPTY_BODY, 200),
        (answer(X_Robots_Tag="all, noai"), ErrorClass.OPTED_OUT, 200),
        (answer("404 Not Found", X_Robots_Tag="noindex"), ErrorClass.HTTP_ERROR, 404),
        (CUT_SHORT, ErrorClass.CONNECTION_ERROR, 200),
        (b"", ErrorClass.CONNECTION_ERROR, None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ErrorClass.PROTOCOL_ERROR, None),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000, ErrorClass.PROTOCOL_ERROR, None),
        (answer(**{f"a{n}": "b" for n in range(1000)}), ErrorClass.PROTOCOL_ERROR, None),
        (answer(**{f"a{n}": "b" * 8000 for n in range(10)}), ErrorClass.PROTOCOL_ERROR, 200),
        (b"HTTP/1.1 103 Early\r\n\r\n" * 100 + answer(), ErrorClass.PROTOCOL_ERROR, None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ErrorClass.PROTOCOL_ERROR, 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nby", ErrorClass.CONNECTION_ERROR, 200),
        (answer("302 Found", Location="http://10.0.0.1/"), ErrorClass.FORBIDDEN_ADDRESS, 302),
        (answer("302 Found", Location="http://0x7f.1:1/"), ErrorClass.FORBIDDEN_ADDRESS, 302),
        (answer("302 Found", Location="file:///etc/passwd"), ErrorClass.SCHEME_NOT_ALLOWED, 302),
        (answer("302 Found", Location="http:///a.png"), ErrorClass.INVALID_URL, 302),
        (answer("302 Found", Location="http://u:p@example.org/"), ErrorClass.INVALID_URL, 302),
        (answer("302 Found", Location="http://[::1/"), ErrorClass.INVALID_URL, 302),
        (answer("302 Found", Location="/a.png"), ErrorClass.TOO_MANY_REDIRECTS, 302),
    ],
)
def test_every_failure_has_its_class(reply, error_class, status):
    fetched, _ = ask(reply)
    assert (fetched.error_class, fetched.http_status) == (error_class, status)
    assert fetched.body is None
    assert fetched.error_message
    assert "\n" not in fetched.error_message


def test_an_owner_who_opts_out_is_heard_before_the_body_is_read():
    noai, _ = ask(answer(X_Robots_Tag="noai").replace(b"Length: 5", b"Length: 500"), then="linger")
    reserved, _ = ask(answer(TDM_Reservation="1").replace(b"Length: 5", b"Length: 500"), then="linger")
    assert noai.error_class is reserved.error_class is ErrorClass.OPTED_OUT
    assert (noai.consent, reserved.consent) == (Consent.X_ROBOTS_TAG, Consent.TDM_RESERVATION)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 Other", "307 Here", "308 There"])
def test_an_owner_who_opts_out_on_a_redirect_is_heard_there(status):
    sound = answer(status, Location="b.png", X_Robots_Tag="all, googlebot: noindex")
    noai = answer(status, Location="c.png", X_Robots_Tag="noai")
    fetched, server = ask(sound, noai, answer(), attempts=3)
    assert (fetched.error_class, fetched.consent) == (ErrorClass.OPTED_OUT, Consent.X_ROBOTS_TAG)
    assert (fetched.body, fetched.attempts) == (None, 1)
    assert fetched.final_url.endswith("/b.png")
    assert server.paths == ["/a.png", "/b.png"]
    fetched, _ = ask(sound, answer())
    assert (fetched.body, fetched.consent) == (b"bytes", Consent.ALLOWED)


def test_what_is_sent_behind_an_answer_is_not_read():
    more, _ = ask(answer() + b"garbage")
    another, _ = ask(answer() + answer("404 Not Found"))
    early, _ = ask(b"HTTP/1.1 103 Early\r\n\r\n" + answer() + b"\x00\xff")
    endless, _ = ask(answer() + b"x" * (3 << 20), max_bytes=100)
    assert more.body == another.body == early.body == endless.body == b"bytes"


def test_redirects_are_followed_up_to_their_limit():
    moved = answer("302 Found", Location="b.png")
    fetched, server = ask(moved, moved, answer(), max_redirects=2)
    assert fetched.body == b"bytes"
    assert fetched.final_url.endswith("/b.png")
    assert server.paths == ["/a.png", "/b.png", "/b.png"]
    fetched, server = ask(moved, moved, answer(), max_redirects=1)
    assert fetched.error_class is ErrorClass.TOO_MANY_REDIRECTS
    assert len(server.requests) == 2


def test_a_port_beside_an_allowed_one_is_no_door():
    fetched, _ = ask(answer("302 Found", Location="http://127.0.0.1:9/"))
    assert fetched.error_class is ErrorClass.FORBIDDEN_ADDRESS


def test_size_is_capped_by_what_is_announced_and_by_what_is_sent():
    exact, _ = ask(answer(body=b"x" * 100), max_bytes=100)
    announced, _ = ask(answer(body=b"x" * 101)[:-101], max_bytes=100, then="linger")
    chunks = b"64\r\n" + b"x" * 100 + b"\r\n1\r\nx\r\n"
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent, _ = ask(endless + chunks, max_bytes=100, then="linger")
    no_data, _ = ask(endless + b"1;" + b"x" * (3 << 20), max_bytes=100, then="linger")
    assert exact.body == b"x" * 100
    assert announced.error_class is sent.error_class is no_data.error_class is ErrorClass.TOO_LARGE


def test_a_server_that_says_nothing_or_stops_half_way_is_left_at_the_deadline():
    silent, _ = ask(b"", then="linger", read_timeout=1)
    stopped, _ = ask(CUT_SHORT, then="linger", read_timeout=1)
    slow, _ = ask(CUT_SHORT, then="linger", total_timeout=1)
    assert silent.error_class is stopped.error_class is slow.error_class is ErrorClass.TIMEOUT
    assert (silent.http_status, stopped.http_status) == (None, 200)
    assert silent.retryable


def test_an_attempts_time_goes_on_through_its_redirects():
    moved = answer("302 Found", Location="/b.png")
    fetched, server = ask(moved, moved, b"", then="keep", total_timeout=2)
    assert (fetched.error_class, fetched.http_status, len(server.requests)) == (ErrorClass.TIMEOUT, 302, 3)


@pytest.mark.parametrize("status", ["408 Timeout", "425 Early", "429 Slow down", "500 Error", "503 Later"])
def test_what_may_pass_is_tried_again(status):
    fetched, server = ask(answer(status), answer(), attempts=2)
    assert (fetched.body, fetched.attempts, len(server.requests)) == (b"bytes", 2, 2)


@pytest.mark.parametrize(
    "reply",
    [
        answer("404 No"),
        answer("410 Gone"),
        answer("501 Never"),
        answer("505 Never"),
        answer(X_Robots_Tag="noai"),
        answer(body=b""),
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_what_will_not_pass_is_not(reply):
    fetched, server = ask(reply, answer(), attempts=3)
    assert (fetched.body, fetched.attempts, len(server.requests)) == (None, 1, 1)
    assert not fetched.retryable


def test_the_last_failure_counts_when_none_passes():
    fetched, server = ask(answer("503 Later"), answer("500 Error"), attempts=2)
    assert (fetched.error_class, fetched.http_status) == (ErrorClass.HTTP_ERROR, 500)
    assert fetched.attempts == len(server.requests) == 2
    assert fetched.retryable


def test_a_host_that_asks_for_a_short_pause_gets_it_and_is_asked_again():
    fetched, server = ask(answer("429 Slow down", Retry_After="1"), answer(), attempts=2)
    assert (fetched.body, fetched.attempts, len(server.requests)) == (b"bytes", 2, 2)


@pytest.mark.parametrize(
    ("url", "error_class", "attempts"),
    [
        ("not a url", ErrorClass.INVALID_URL, 0),
        ("data:image/png;base64,AAAA", ErrorClass.SCHEME_NOT_ALLOWED, 0),
        ("http://127.1/", ErrorClass.FORBIDDEN_ADDRESS, 0),
        ("http://localhost:1/", ErrorClass.FORBIDDEN_ADDRESS, 1),
        ("http://no-such-host.invalid/", ErrorClass.HOST_NOT_FOUND, 1),
        ("http://" + "a" * 70 + ".invalid/", ErrorClass.HOST_NOT_FOUND, 1),
    ],
)
def test_a_url_that_may_not_be_asked_for_is_not(url, error_class, attempts):
    fetched = fetch_alone(url, attempts=3)
    assert (fetched.error_class, fetched.http_status, fetched.retryable) == (error_class, None, False)
    assert fetched.attempts == attempts
    assert fetched.error_message


def test_a_closed_port_is_a_connection_error_and_proxies_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    fetched, _ = ask(answer(), host="localhost")
    assert fetched.body == b"bytes"
    closed = fetch_alone("http://127.0.0.1:1/", hosts=("127.0.0.1:1",), attempts=2)
    assert (closed.error_class, closed.attempts) == (ErrorClass.CONNECTION_ERROR, 2)
    assert closed.error_message == "connection failed: Connection refused"


def test_only_a_certificate_that_somebody_vouches_for_will_do(tmp_path, monkeypatch):
    tls, certificate = certified(tmp_path)
    unknown, server = ask(answer(), scheme="https", host="localhost", tls=tls)
    assert unknown.error_class is ErrorClass.TLS_ERROR
    assert "self-signed certificate" in unknown.error_message
    assert server.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    known, _ = ask(answer(), scheme="https", host="localhost", tls=tls)
    assert known.body == b"bytes"
    of_another, _ = ask(answer(), scheme="https", host="127.0.0.1", tls=tls)
    assert of_another.error_class is ErrorClass.TLS_ERROR


def test_a_redirect_leads_from_http_to_https(tmp_path, monkeypatch):
    tls, certificate = certified(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    async def asked():
        async with RawServer([answer()], tls) as safe:
            target = f"https://localhost:{safe.port}/b"
            async with (
                RawServer([answer("301 Moved", Location=target)]) as plain,
                fetching(plain.host, f"localhost:{safe.port}") as fetcher,
            ):
                return await fetcher.fetch(f"http://{plain.host}/a", UID), target

    fetched, target = asyncio.run(asked())
    assert (fetched.body, fetched.final_url) == (b"bytes", target)


pieces = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 302 Found\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/9.9 2000 \xff\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Location: \xff\xfe://\r\n",
        b"Location: http://[\r\n",
        b"Location: //\r\n",
        b"Set-Cookie: a=\x00\r\n",
        b"X-Robots-Tag: \xff:\r\n",
        b"Retry-After: \xff\r\n",
        b": no name\r\n",
        b" folded\r\n",
        b"\r\n",
        b"ffffffffffffffff\r\n",
        b"\x00\xff",
    ]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(pieces | st.binary(max_size=12), max_size=8).map(b"".join))
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
def test_no_answer_however_odd_is_an_exception(reply):
    fetched, _ = ask(reply, max_redirects=1)
    assert (fetched.body is None) == (fetched.error_class is not None)
    (fetched.error_message or "").encode()
