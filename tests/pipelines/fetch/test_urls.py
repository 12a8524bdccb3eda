from __future__ import annotations

import asyncio
import random
from urllib.request import Request, urlopen

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from clipsieve.pipelines.fetch.failure import FetchError
from clipsieve.pipelines.fetch.urls import parse_redirect, parse_url
from clipsieve.schemas.outcomes import ErrorClass
from tests.pipelines.fetch.fetching import UID, fetching
from tests.pipelines.fetch.raw_server import RawServer, answer

NOWHERE: frozenset[tuple[str, int]] = frozenset()
INVALID, SCHEME, FORBIDDEN = ErrorClass.INVALID_URL, ErrorClass.SCHEME_NOT_ALLOWED, ErrorClass.FORBIDDEN_ADDRESS
REFUSED = [
    ("", INVALID),
    ("not a url", INVALID),
    ("//host/x", INVALID),
    ("http://", INVALID),
    ("http:///x", INVALID),
    ("http:x", INVALID),
    ("http://user:pass@example.org/", INVALID),
    ("http://user@example.org/", INVALID),
    ("http://example.org:99999/", INVALID),
    ("http://example.org:0/", INVALID),
    ("http://[::1/", INVALID),
    ("http://\ud800.example/", INVALID),
    ("ftp://example.org/", SCHEME),
    ("file:///etc/passwd", SCHEME),
    ("data:image/png;base64,AAAA", SCHEME),
    ("javascript:alert(1)", SCHEME),
    ("http://127.0.0.1/", FORBIDDEN),
    ("http://127.1/", FORBIDDEN),
    ("http://2130706433/", FORBIDDEN),
    ("http://0x7f000001/", FORBIDDEN),
    ("http://017700000001/", FORBIDDEN),
    ("http://\uff11\uff12\uff17.0.0.1/", FORBIDDEN),
    ("http://²130706433/", FORBIDDEN),
    ("http://[::1]/", FORBIDDEN),
    ("http://[fe80::1%25eth0]/", FORBIDDEN),
    ("http://[::ffff:169.254.169.254]/", FORBIDDEN),
    ("http://169.254.169.254/latest/meta-data", FORBIDDEN),
]


@pytest.mark.parametrize(("url", "error_class"), REFUSED)
def test_a_url_that_may_not_be_asked_for_is_refused(url, error_class):
    with pytest.raises(FetchError) as caught:
        parse_url(url, NOWHERE)
    assert caught.value.error_class is error_class
    assert not caught.value.retryable
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("url", "asked_for"),
    [
        (" http://example.org/a b.png\n", "http://example.org/a%20b.png"),
        ("HTTPS://Example.ORG:8443/é?q=1#f", "https://example.org:8443/%C3%A9?q=1"),
        ("http://example.org/img.jpg?sig=a%2Fb%2bc%3D", "http://example.org/img.jpg?sig=a%2Fb%2bc%3D"),
        ("http://example.org/%7Eme/%28a%29,'b'.jpg", "http://example.org/%7Eme/%28a%29,'b'.jpg"),
        ("http://example.org/100%.jpg?%zz&%", "http://example.org/100%.jpg?%zz&%"),
        ("http://example.org/a/../b/./c//d", "http://example.org/a/../b/./c//d"),
        ("http://example.org/http://x.org/a?b?c", "http://example.org/http://x.org/a?b?c"),
        ('http://example.org/^`{|}<>[]\\"', 'http://example.org/^`{|}<>[]\\"'),
        ("http://example.org/a\n\tb\x01\x7f", "http://example.org/ab%01%7F"),
        ("http://example.org/a?#f?g#h", "http://example.org/a?"),
        ("http://example.org?a", "http://example.org/?a"),
        ("http://example.org", "http://example.org/"),
        ("http://café.example/", "http://xn--caf-dma.example/"),
        ("http://134744072/", "http://8.8.8.8/"),
        ("http://8.8.8.8:1/", "http://8.8.8.8:1/"),
    ],
)
def test_others_are_put_in_the_form_in_which_they_are_sent(url, asked_for):
    assert str(parse_url(url, NOWHERE)) == asked_for


def test_an_allowed_host_is_allowed_at_its_port():
    allowed = frozenset({("127.0.0.1", 8080)})
    assert str(parse_url("http://127.1:8080/a", allowed)) == "http://127.0.0.1:8080/a"
    with pytest.raises(FetchError):
        parse_url("http://127.0.0.1/a", allowed)


def test_a_redirect_is_read_relative_to_where_it_stands_and_judged_as_any_url():
    base = URL("https://example.org/a/b.png")
    assert str(parse_redirect(base, "c.png", NOWHERE)) == "https://example.org/a/c.png"
    assert str(parse_redirect(base, "//other.example/", NOWHERE)) == "https://other.example/"
    assert str(parse_redirect(base, "http://other.example/é", NOWHERE)) == "http://other.example/%C3%A9"
    assert str(parse_redirect(base, "/c%28.png?d=%2F", NOWHERE)) == "https://example.org/c%28.png?d=%2F"
    assert str(parse_redirect(base, "?d=%2f\udcff %", NOWHERE)) == "https://example.org/a/b.png?d=%2f%FF%20%"
    assert str(parse_redirect(base, "//o.example/a/../%41#f", NOWHERE)) == "https://o.example/a/../%41"
    assert str(parse_redirect(base, "../%41 b", NOWHERE)) == "https://example.org/%41%20b"
    for location in ("//127.0.0.1/", "http:///a", "file:///etc/passwd", "http://[", "//u@example.org/"):
        with pytest.raises(FetchError):
            parse_redirect(base, location, NOWHERE)


LEGAL = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "#")
"""What may be sent; a ``#`` begins what is not."""
targets = st.lists(st.text(LEGAL, max_size=12) | st.sampled_from(["%2F", "%7e", "%", "..", "//", "?", "."])).map(
    "".join
)


@settings(max_examples=300)
@given(targets, st.sampled_from(["/", "?"]))
def test_what_may_be_sent_is_what_urllib_asks_for(target, start):
    url = f"http://example.org{start}{target}"
    asked_for = parse_url(url, NOWHERE)
    assert asked_for.raw_path_qs == Request(url).selector
    assert str(asked_for) == f"http://example.org{asked_for.raw_path_qs}"


def test_a_server_sees_the_requests_that_urllib_makes_of_a_thousand_odd_urls():
    rng = random.Random(7)
    odd = ["".join(rng.choices(LEGAL, k=rng.randint(0, 24))) for _ in range(1000)]
    # An empty parameter (`;`) urllib leaves out when it follows a redirect.
    moved = {f"/{number}": f"/x{text.replace(';', '')}y" for number, text in enumerate(odd[:100])}
    moved |= {f"/{number + 100}": f"r{location}" for number, location in enumerate(list(moved.values()))}

    async def asked():
        def respond(path):
            return answer("302 Found", Location=moved[path]) if path in moved else answer()

        async with (
            RawServer(respond, then="keep") as by_us,
            RawServer(respond, then="keep") as by_urllib,
            fetching(by_us.host, max_redirects=1) as fetcher,
        ):
            paths = [*(f"/a{text}" for text in odd), *moved]
            fetched = await asyncio.gather(*(fetcher.fetch(f"http://{by_us.host}{path}", UID) for path in paths))
            for path in paths:
                await asyncio.to_thread(_open, f"http://{by_urllib.host}{path}")
            assert {one.error_message for one in fetched} == {None}
            return sorted(by_us.paths), sorted(by_urllib.paths)

    by_us, by_urllib = asyncio.run(asked())
    assert len(by_us) == 1000 + 2 * len(moved)
    assert by_us == by_urllib


def _open(url):
    with urlopen(url, timeout=10) as response:
        assert response.read() == b"bytes"


@given(st.text(max_size=30) | st.text(max_size=20).map(lambda text: f"http://127.0.0.1{text}"))
def test_no_text_however_odd_is_another_error(text):
    for parse in (parse_url, lambda text, allowed: parse_redirect(URL("http://example.org/"), text, allowed)):
        try:
            url = parse(text, NOWHERE)
        except FetchError as error:
            str(error).encode()
        else:
            assert url.scheme in ("http", "https")
            assert url.raw_host
            assert not url.user
