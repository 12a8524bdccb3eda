from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.fetch import fetch, open_session
from pipelines.fetch.client import backoff_seconds
from schemas.outcomes import ErrorClass
from schemas.recipe import DownloadOptions

UID = "0" * 32


@asynccontextmanager
async def raw_server(answers, tls=None, linger=False):
    """A server that answers its n-th connection with the n-th of ``answers`` (the last, for ever) and hangs
    up, or, with ``linger``, says no more. Yields its port and the requests that it read."""
    requests = []
    over = asyncio.Event()

    async def handle(reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(answers[min(len(requests), len(answers)) - 1])
            await writer.drain()
            if linger:
                await over.wait()
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], requests
        over.set()


def ask(*answers, path="/a.png", scheme="http", host="127.0.0.1", tls=None, linger=False, **options):
    """Fetch a URL of a raw server; returns what came of it and the requests the server saw."""

    async def asked():
        async with raw_server(answers, tls, linger) as (port, requests):
            values = {"attempts": 1, "connect_timeout": 2, "read_timeout": 2, "total_timeout": 4, **options}
            chosen = DownloadOptions(allow_hosts=(f"{host}:{port}",), **values)
            async with open_session(chosen) as session:
                return await fetch(session, f"{scheme}://{host}:{port}{path}", chosen, UID), requests

    return asyncio.run(asked())


def answer(status="200 OK", body=b"bytes", **headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def fetch_alone(url, **options):
    async def asked():
        chosen = DownloadOptions(attempts=1, connect_timeout=2, total_timeout=4, **options)
        async with open_session(chosen) as session:
            return await fetch(session, url, chosen, UID)

    return asyncio.run(asked())


def test_a_sound_answer_is_handed_over_whole():
    before = datetime.now(timezone.utc)
    fetched, (request,) = ask(answer(body=b"\x89PNG", Content_Type="text/plain; x=é"))
    assert (fetched.body, fetched.http_status, fetched.attempts) == (b"\x89PNG", 200, 1)
    assert fetched.content_type == "text/plain; x=é"
    assert fetched.final_url.endswith("/a.png")
    assert fetched.error_class is None
    assert before <= fetched.fetched_at <= datetime.now(timezone.utc)
    assert "Accept-Encoding: identity" in request
    assert "Cookie" not in request


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
        (answer().replace(b"Length: 5", b"Length: 50"), ErrorClass.CONNECTION_ERROR, 200),
        (b"", ErrorClass.CONNECTION_ERROR, None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ErrorClass.CONNECTION_ERROR, None),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000, ErrorClass.CONNECTION_ERROR, None),
        (answer("302 Found", Location="http://10.0.0.1/"), ErrorClass.FORBIDDEN_ADDRESS, 302),
        (answer("302 Found", Location="http://0x7f.1:1/"), ErrorClass.FORBIDDEN_ADDRESS, 302),
        (answer("302 Found", Location="file:///etc/passwd"), ErrorClass.SCHEME_NOT_ALLOWED, 302),
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


def test_redirects_are_followed_up_to_their_limit():
    moved = answer("302 Found", Location="b.png")
    fetched, requests = ask(moved, moved, answer(), max_redirects=2)
    assert fetched.body == b"bytes"
    assert fetched.final_url.endswith("/b.png")
    assert [request.split()[1] for request in requests] == ["/a.png", "/b.png", "/b.png"]
    fetched, requests = ask(moved, moved, answer(), max_redirects=1)
    assert fetched.error_class is ErrorClass.TOO_MANY_REDIRECTS
    assert len(requests) == 2


def test_a_port_beside_an_allowed_one_is_no_door():
    fetched, _ = ask(answer("302 Found", Location="http://127.0.0.1:9/"))
    assert fetched.error_class is ErrorClass.FORBIDDEN_ADDRESS


def test_size_is_capped_by_what_is_announced_and_by_what_is_sent():
    exact, _ = ask(answer(body=b"x" * 100), max_bytes=100)
    announced, _ = ask(answer(body=b"x" * 101), max_bytes=100, linger=True)
    chunks = b"64\r\n" + b"x" * 100 + b"\r\n1\r\nx\r\n"
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    sent, _ = ask(endless, max_bytes=100, linger=True)
    assert exact.body == b"x" * 100
    assert announced.error_class is sent.error_class is ErrorClass.TOO_LARGE


def test_a_server_that_says_nothing_or_stops_half_way_is_left_at_the_deadline():
    silent, _ = ask(b"", linger=True, read_timeout=0.2)
    stopped, _ = ask(answer().replace(b"Length: 5", b"Length: 50"), linger=True, read_timeout=0.2)
    slow, _ = ask(answer().replace(b"Length: 5", b"Length: 50"), linger=True, total_timeout=0.2)
    assert silent.error_class is stopped.error_class is slow.error_class is ErrorClass.TIMEOUT
    assert (silent.http_status, stopped.http_status) == (None, 200)


@pytest.mark.parametrize("status", ["408 Timeout", "425 Early", "429 Slow down", "500 Error", "503 Later"])
def test_what_may_pass_is_tried_again(status):
    fetched, requests = ask(answer(status), answer(), attempts=2)
    assert (fetched.body, fetched.attempts, len(requests)) == (b"bytes", 2, 2)


@pytest.mark.parametrize("reply", [answer("404 No"), answer("410 Gone"), answer(X_Robots_Tag="noai"), answer(body=b"")])
def test_what_will_not_pass_is_not(reply):
    fetched, requests = ask(reply, answer(), attempts=3)
    assert (fetched.body, fetched.attempts, len(requests)) == (None, 1, 1)


def test_the_last_failure_counts_when_none_passes():
    fetched, requests = ask(answer("503 Later"), answer("500 Error"), attempts=2)
    assert (fetched.error_class, fetched.http_status) == (ErrorClass.HTTP_ERROR, 500)
    assert fetched.attempts == len(requests) == 2


@given(st.text(max_size=8), st.integers(1, 9))
def test_waits_double_and_their_jitter_is_the_seeds(seed, attempt):
    wait = backoff_seconds(seed, attempt)
    assert 0.25 * 2 ** (attempt - 1) <= wait < 0.75 * 2 ** (attempt - 1)
    assert wait == backoff_seconds(seed, attempt)


@pytest.mark.parametrize(
    ("url", "error_class"),
    [
        ("", ErrorClass.INVALID_URL),
        ("not a url", ErrorClass.INVALID_URL),
        ("//host/x", ErrorClass.INVALID_URL),
        ("http://", ErrorClass.INVALID_URL),
        ("http:///x", ErrorClass.INVALID_URL),
        ("http://user:pass@example.org/", ErrorClass.INVALID_URL),
        ("http://user@example.org/", ErrorClass.INVALID_URL),
        ("http://example.org:99999/", ErrorClass.INVALID_URL),
        ("ftp://example.org/", ErrorClass.SCHEME_NOT_ALLOWED),
        ("file:///etc/passwd", ErrorClass.SCHEME_NOT_ALLOWED),
        ("data:image/png;base64,AAAA", ErrorClass.SCHEME_NOT_ALLOWED),
        ("javascript:alert(1)", ErrorClass.SCHEME_NOT_ALLOWED),
        ("http://127.0.0.1/", ErrorClass.FORBIDDEN_ADDRESS),
        ("http://127.1/", ErrorClass.FORBIDDEN_ADDRESS),
        ("http://2130706433/", ErrorClass.FORBIDDEN_ADDRESS),
        ("http://0x7f000001/", ErrorClass.FORBIDDEN_ADDRESS),
        ("http://017700000001/", ErrorClass.FORBIDDEN_ADDRESS),
        ("http://\uff11\uff12\uff17.0.0.1/", ErrorClass.FORBIDDEN_ADDRESS),
        ("http://²130706433/", ErrorClass.FORBIDDEN_ADDRESS),
        ("http://[::1]/", ErrorClass.FORBIDDEN_ADDRESS),
        ("http://[::ffff:169.254.169.254]/", ErrorClass.FORBIDDEN_ADDRESS),
        ("http://169.254.169.254/latest/meta-data", ErrorClass.FORBIDDEN_ADDRESS),
    ],
)
def test_a_url_that_may_not_be_asked_for_is_not(url, error_class):
    fetched = fetch_alone(url)
    assert (fetched.error_class, fetched.attempts) == (error_class, 0)


def test_a_name_is_judged_by_where_it_leads():
    by_name, _ = ask(answer(), host="localhost")
    assert by_name.body == b"bytes"
    unasked = fetch_alone("http://localhost:1/")
    assert unasked.error_class is ErrorClass.FORBIDDEN_ADDRESS


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid", "a..b.invalid"])
def test_a_name_that_leads_nowhere_is_a_dns_error(host):
    fetched = fetch_alone(f"http://{host}/")
    assert fetched.error_class in (ErrorClass.DNS_ERROR, ErrorClass.INVALID_URL)
    assert host != "no-such-host.invalid" or fetched.error_class is ErrorClass.DNS_ERROR


def test_a_closed_port_is_a_connection_error_and_proxies_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    fetched, _ = ask(answer())
    assert fetched.body == b"bytes"
    closed = fetch_alone("http://127.0.0.1:1/", allow_hosts=("127.0.0.1:1",))
    assert closed.error_class is ErrorClass.CONNECTION_ERROR
    assert closed.error_message == "connection failed: Connection refused"


def test_a_certificate_that_nobody_vouches_for_is_a_tls_error(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    fetched, requests = ask(answer(), scheme="https", host="localhost", tls=tls)
    assert fetched.error_class is ErrorClass.TLS_ERROR
    assert "self-signed certificate" in fetched.error_message
    assert requests == []


pieces = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 302 Found\r\n",
        b"HTTP/9.9 2000 \xff\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Location: \xff\xfe://\r\n",
        b"Location: http://[\r\n",
        b"Location: //\r\n",
        b"Set-Cookie: a=\x00\r\n",
        b"X-Robots-Tag: \xff:\r\n",
        b": no name\r\n",
        b" folded\r\n",
        b"\r\n",
        b"ffffffffffffffff\r\n",
        b"\x00\xff",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(pieces | st.binary(max_size=12), max_size=8).map(b"".join))
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
def test_no_answer_however_odd_is_an_exception(reply):
    fetched, _ = ask(reply, max_redirects=1)
    assert (fetched.body is None) == (fetched.error_class is not None)
    (fetched.error_message or "").encode()


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30) | st.text(max_size=20).map(lambda text: f"http://127.0.0.1{text}"))
def test_no_url_however_odd_is_an_exception(url):
    assert fetch_alone(url).error_class in (
        ErrorClass.INVALID_URL,
        ErrorClass.SCHEME_NOT_ALLOWED,
        ErrorClass.FORBIDDEN_ADDRESS,
        ErrorClass.DNS_ERROR,
        ErrorClass.CONNECTION_ERROR,
    )
