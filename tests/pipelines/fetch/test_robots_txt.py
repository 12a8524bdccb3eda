"""robots.txt: RFC 9309's own cases, one request for each origin, and files that were written to do harm."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protego import Protego
from yarl import URL

from clipsieve.pipelines.fetch import robots_txt
from clipsieve.pipelines.fetch.robots_txt import (
    LIFE_SECONDS,
    MAX_ROBOTS_BYTES,
    UNREACHABLE_SECONDS,
    RobotsAnswer,
    RobotsTxt,
    RobotsUnreachableError,
    relevant_rules,
)
from clipsieve.schemas.outcomes import ErrorClass


class Server:
    """Answers by origin, counts what it is asked for, and may be held back."""

    def __init__(self, answer: RobotsAnswer) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def get(self, url: URL) -> RobotsAnswer:
        self.asked.append(str(url))
        await self.open.wait()
        return self.answer


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def text(content: str | bytes) -> RobotsAnswer:
    return RobotsAnswer(200, content.encode() if isinstance(content, str) else content)


def allows(content: str | bytes, path: str, user_agent: str = "clipsieve") -> bool:
    async def ask() -> bool:
        robots = RobotsTxt(Server(text(content)).get, user_agent)
        return await robots.allows(URL(f"https://example.org{path}"))

    return asyncio.run(ask())


RFC_EXAMPLE = """
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""  # RFC 9309, section 5.1


@pytest.mark.parametrize(
    "agent, path, allowed",
    [
        ("clipsieve", "/a.gif", False),
        ("clipsieve", "/a.gif?x", True),
        ("clipsieve", "/example/x.jpg", False),
        ("clipsieve", "/publications/x.jpg", True),
        ("clipsieve", "/", True),
        ("foobot", "/x.jpg", False),
        ("FooBot", "/example/page.html", True),
        ("foobot", "/example/allowed.gif", True),
        ("barbot", "/example/page.html", False),
        ("bazbot", "/example/page.html", False),
        ("bazbot", "/a.gif", True),
        ("quxbot", "/example/x.jpg", True),
    ],
)
def test_the_example_of_the_standard(agent, path, allowed):
    assert allows(RFC_EXAMPLE, path, agent) is allowed


@pytest.mark.parametrize(
    "content, path, allowed",
    [
        # The longest match wins, and of equal ones allow (section 5.2).
        ("User-agent: *\nAllow: /a/p\nDisallow: /a/", "/a/p.jpg", True),
        ("User-agent: *\nAllow: /page\nDisallow: /*.ph", "/page.php5", True),
        ("User-agent: *\nDisallow: /a\nAllow: /a", "/a", True),
        # Groups of one name are one (section 2.2.1); other records part no group (2.2.4).
        (
            "User-agent: clipsieve\nDisallow: /a\nUser-agent: *\nDisallow: /\nUser-agent: clipsieve\nDisallow: /b",
            "/b",
            False,
        ),
        ("User-agent: clipsieve\nCrawl-delay: 5\nUser-agent: otherbot\nDisallow: /", "/x", False),
        ("User-agent: clipsieve\nSitemap: /s\n\nDisallow: /", "/x", False),
        # Names are whole tokens, whatever their case and version.
        ("User-agent: CLIPsieve/2.1\nDisallow: /", "/x", False),
        ("User-agent: clip\nDisallow: /", "/x", True),
        ("User-agent: clipsieve-image\nDisallow: /", "/x", True),
        ("User-agent: *bot\nDisallow: /", "/x", True),
        # Our own group, even an empty one, is preferred to *.
        ("User-agent: *\nDisallow: /\n\nUser-agent: clipsieve\nDisallow:", "/x", True),
        # Rules without a group are nobody's.
        ("Disallow: /", "/x", True),
        # Common mistakes of form.
        ("\ufeffUSER-AGENT : *\r\nDISALLOW :/a # comment\r\n", "/a", False),
        ("useragent *\ndissallow /a", "/a", False),
        # Paths are compared percent-decoded, and the query counts.
        ("User-agent: *\nDisallow: /b%C3%BCcher", "/bücher/1.jpg", False),
        ("User-agent: *\nDisallow: /*?size=", "/a.jpg?size=2", False),
        ("User-agent: *\nDisallow: /", "/robots.txt", True),
        # Bytes that are no UTF-8 spoil their own line alone.
        (b"User-agent: *\nDisallow: /\xff\xfe\nDisallow: /a\n", "/a", False),
        (b"\x89PNG\r\n\x1a\n\0\0", "/a", True),
        ("<html><body>User-agent: *</body></html>", "/a", True),
    ],
)
def test_what_a_file_says(content, path, allowed):
    assert allows(content, path) is allowed


tokens = st.sampled_from(["*", "clipsieve", "otherbot", "ClipSieve"])
paths = st.text("ab*/$%?", max_size=6).map(lambda path: f"/{path}")
rules = st.lists(st.tuples(st.sampled_from(["Allow", "Disallow"]), paths), min_size=1, max_size=5)
groups = st.lists(st.tuples(st.lists(tokens, min_size=1, max_size=2), rules), max_size=5)


@given(groups, paths)
def test_leaving_out_the_groups_of_others_changes_no_answer(groups, path):
    lines = [
        line
        for names, group in groups
        for line in [*(f"User-agent: {name}" for name in names), *(f"{kind}: {value}" for kind, value in group)]
    ]
    content, url = "\n".join(lines), f"http://example.org{path}"
    expected = Protego.parse(content).can_fetch(url, "clipsieve")
    assert Protego.parse(relevant_rules(content.encode(), "clipsieve")).can_fetch(url, "us") == expected


@given(st.binary(max_size=400))
def test_no_bytes_are_an_error(content):
    assert allows(b"User-agent: *\n" + content, "/a") in (True, False)


@pytest.mark.parametrize("status", [404, 401, 403, 410, 302, 204])
def test_where_there_is_no_file_all_is_allowed(status):
    async def ask():
        return await RobotsTxt(
            Server(RobotsAnswer(status, b"User-agent: *\nDisallow: /" * (status != 204))).get, "us"
        ).allows(URL("http://example.org/a"))

    assert asyncio.run(ask())


@pytest.mark.parametrize("error_class", [ErrorClass.TOO_MANY_REDIRECTS, ErrorClass.FORBIDDEN_ADDRESS])
def test_a_redirect_that_leads_nowhere_is_no_file(error_class):
    async def ask():
        server = Server(RobotsAnswer(302, b"", error_class, "astray"))
        return await RobotsTxt(server.get, "clipsieve").allows(URL("http://example.org/a"))

    assert asyncio.run(ask())


@pytest.mark.parametrize(
    "answer, error_class, status, retryable",
    [
        (RobotsAnswer(500), ErrorClass.HTTP_ERROR, 500, True),
        (RobotsAnswer(503), ErrorClass.HTTP_ERROR, 503, True),
        (RobotsAnswer(429), ErrorClass.HTTP_ERROR, 429, True),
        (RobotsAnswer(None, b"", ErrorClass.TIMEOUT, "no answer"), ErrorClass.TIMEOUT, None, True),
        (RobotsAnswer(200, b"", ErrorClass.CONNECTION_ERROR, "cut off"), ErrorClass.CONNECTION_ERROR, 200, True),
        (RobotsAnswer(None, b"", ErrorClass.TLS_ERROR, "expired"), ErrorClass.TLS_ERROR, None, False),
    ],
)
def test_a_file_that_cannot_be_had_forbids_for_now(answer, error_class, status, retryable):
    async def run():
        server, clock = Server(answer), Clock()
        robots = RobotsTxt(server.get, "clipsieve", clock)
        for _ in range(2):
            with pytest.raises(RobotsUnreachableError, match=r"^robots\.txt: ") as caught:
                await robots.allows(URL("http://example.org/a"))
            error = caught.value
            assert (error.error_class, error.http_status, error.retryable) == (error_class, status, retryable)
        assert len(server.asked) == 1
        clock.now, server.answer = UNREACHABLE_SECONDS, text("User-agent: *\nDisallow: /b")
        assert await robots.allows(URL("http://example.org/a"))
        assert not await robots.allows(URL("http://example.org/b"))
        assert len(server.asked) == 2

    asyncio.run(run())


def test_each_origin_is_asked_once_however_many_wait_and_again_after_a_day():
    async def run():
        server, clock = Server(text("User-agent: *\nDisallow: /no/")), Clock()
        robots = RobotsTxt(server.get, "clipsieve", clock)
        server.open.clear()
        urls = [
            URL(f"{origin}/{path}")
            for origin in ("http://a.org", "https://a.org", "http://a.org:81")
            for path in ("no/1", "2")
        ]
        waiting = [asyncio.ensure_future(robots.allows(url)) for url in urls * 50]
        impatient = asyncio.ensure_future(robots.allows(urls[0]))
        await asyncio.sleep(0)
        impatient.cancel()
        server.open.set()
        assert await asyncio.gather(*waiting) == [False, True] * 150
        assert impatient.cancelled()
        asked = [f"{url.origin()}/robots.txt" for url in urls[::2]]
        assert server.asked == asked
        clock.now = LIFE_SECONDS - 1
        assert await robots.allows(urls[1])
        assert server.asked == asked
        clock.now = LIFE_SECONDS
        assert await robots.allows(urls[1])
        assert server.asked == [*asked, asked[0]]

    asyncio.run(run())


def test_origins_and_rules_are_kept_within_bounds(monkeypatch):
    async def run():
        server = Server(text("User-agent: *\nDisallow: /no/"))
        robots = RobotsTxt(server.get, "clipsieve")
        monkeypatch.setattr(robots_txt, "MAX_ORIGINS", 3)
        for host in "abcabdab":
            await robots.allows(URL(f"http://{host}.org/"))
        assert [url[7] for url in server.asked] == list("abcd")
        await robots.allows(URL("http://c.org/"))
        assert len(server.asked) == 5
        monkeypatch.setattr(robots_txt, "MAX_KEPT_BYTES", 60)
        for host in "efefg":
            await robots.allows(URL(f"http://{host}.org/"))
        assert [url[7] for url in server.asked[5:]] == list("efg")

    asyncio.run(run())


def test_an_exception_of_the_network_reaches_who_waits_and_is_not_kept():
    class GoneError(Exception):
        pass

    async def run():
        asked = []

        async def get(url: URL) -> RobotsAnswer:
            asked.append(url)
            if len(asked) == 1:
                raise GoneError
            return RobotsAnswer(404)

        robots = RobotsTxt(get, "clipsieve")
        with pytest.raises(GoneError):
            await robots.allows(URL("http://example.org/"))
        assert await robots.allows(URL("http://example.org/"))

    asyncio.run(run())


def test_closing_ends_what_is_asked_for():
    async def run():
        server = Server(text(""))
        server.open.clear()
        robots = RobotsTxt(server.get, "clipsieve")
        waiting = asyncio.ensure_future(robots.allows(URL("http://example.org/")))
        await asyncio.sleep(0)
        await robots.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())


HOSTILE = {
    "names times rules": "".join(f"User-agent: bot{n}\n" for n in range(9_000))
    + "User-agent: *\n"
    + "Disallow: /a\n" * 28_000,
    "variants of our name": "".join(f"User-agent: clip{'*' * n}sieve\n" for n in range(900)) + "Disallow: /a\n" * 9_000,
    "wildcards, many rules": "User-agent: *\n" + "".join(f"Disallow: /*{n}b\n" for n in range(40_000)),
    "wildcards, long rules": "User-agent: *\n" + ("Disallow: /" + "*a" * 500 + "*b\n") * 500,
    "one long line": "User-agent: *\nDisallow: /" + "*a" * 250_000,
    "dollars": "User-agent: *\nDisallow: /" + "$" * 400_000,
    "spaces": "User-agent: *\nDisallow" + " " * 400_000 + "x",
    "a field without an end": "User-agent: *\nd" + "i" * 400_000,
    "escapes": "User-agent: *\nDisallow: /" + "%41" * 150_000,
    "an endless file": "User-agent: *\n" + "Disallow: /x\n" * 500_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_parsed_of_a_hostile_file_is_bounded(name):
    content = relevant_rules(HOSTILE[name].encode(), "clipsieve")
    assert len(content) < 1.1 * MAX_ROBOTS_BYTES
    records = [line.partition(": ") for line in content.splitlines()]
    assert {value for field, _, value in records if field == "User-agent"} <= {"*", "us"}
    assert sum(value.count("*") for field, _, value in records if field != "User-agent") <= robots_txt._MAX_WILDCARDS
    Protego.parse(content).can_fetch(f"http://example.org/{'a' * 8_000}", "us")


def test_names_times_rules_take_little_memory():
    """As they stand, Protego would keep a rule for each of 252 million pairs of them."""
    tracemalloc.start()
    Protego.parse(relevant_rules(HOSTILE["names times rules"].encode(), "clipsieve"))
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


def test_past_the_bound_of_wildcards_more_is_forbidden_not_less():
    many = "Disallow: /x*y\n" * robots_txt._MAX_WILDCARDS
    assert allows(f"User-agent: *\n{many}", "/xa")
    assert not allows(f"User-agent: *\n{many}Disallow: /b*c\nAllow: /b*d", "/bad")
