"""robots.txt (RFC 9309): one for each origin, requested once, kept for a day, heeded for every URL of it.

Protego matches paths to rules; what reaches it is only the groups of rules that are for us, since parsing a
file of many crawlers' names and rules takes it time and memory in proportion to their product.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from protego import Protego
from yarl import URL

from clipsieve.pipelines.fetch.urls import as_one_path
from clipsieve.schemas.outcomes import ErrorClass, is_retryable

MAX_ROBOTS_BYTES = 500 * 1024
"""How much of a robots.txt is read; RFC 9309, section 2.5, asks for no less."""

LIFE_SECONDS = 24 * 3600.0
UNREACHABLE_SECONDS = 60.0
"""How long a robots.txt that could not be had is not requested again."""

MAX_ORIGINS = 20_000
MAX_KEPT_BYTES = 2 << 20
"""How many origins, and how many bytes of their rules, are kept; a byte of rules takes some 15 of memory."""

# Wildcards cost time at every URL: this many match the longest URLs in a hundredth of a second.
_MAX_WILDCARDS = 2_000
_US = "us"
_ANY_CRAWLER = "*"

_RECORD = re.compile(r"(user[- ]?agent|d[ias]+ll?[oa]w|allow)(?:\s*:|\s)\s*(?P<value>.*)", re.IGNORECASE)
_PRODUCT = re.compile(r"\*(?!\S)|[A-Za-z_-]*")

# What a robots.txt ends in that redirects astray, or to a host that may not be asked: nothing is said there.
_UNAVAILABLE = frozenset(
    {
        ErrorClass.INVALID_URL,
        ErrorClass.SCHEME_NOT_ALLOWED,
        ErrorClass.FORBIDDEN_ADDRESS,
        ErrorClass.TOO_MANY_REDIRECTS,
        ErrorClass.EMPTY_BODY,
    }
)


@dataclass(frozen=True)
class RobotsAnswer:
    """How asking for a robots.txt ended, redirects followed: a status with its body, or the failure's class."""

    status: int | None = None
    body: bytes = b""
    """Its first `MAX_ROBOTS_BYTES`; only a status of 200 to 299 needs one."""
    error_class: ErrorClass | None = None
    error_message: str | None = None


class RobotsUnreachableError(Exception):
    """An origin's robots.txt cannot be had, so for now none of its URLs may be requested (section 2.3.1.4)."""

    def __init__(self, answer: RobotsAnswer) -> None:
        super().__init__(f"robots.txt: {answer.error_message or f'HTTP status {answer.status}'}")
        self.error_class = answer.error_class or ErrorClass.HTTP_ERROR
        self.http_status = answer.status
        self.retryable = is_retryable(self.error_class, answer.status)


@dataclass(frozen=True)
class _Ruling:
    """What is known of an origin."""

    rules: Protego | None
    """None: there are none."""
    unreachable: RobotsAnswer | None
    expires: float
    size: int
    """Bytes of the rules."""


class RobotsTxt:
    """Judges URLs by their origin's robots.txt. It belongs to one event loop.

    ``get`` asks for a robots.txt, following up to five redirects, and raises nothing for what a server does;
    ``user_agent`` is the product token looked up, ``*`` where no group names it.
    """

    def __init__(
        self,
        get: Callable[[URL], Awaitable[RobotsAnswer]],
        user_agent: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._get = get
        self._user_agent = user_agent
        self._clock = clock
        self._kept: OrderedDict[URL, _Ruling] = OrderedDict()
        self._kept_bytes = 0
        self._asking: dict[URL, asyncio.Task[_Ruling]] = {}

    async def allows(self, url: URL) -> bool:
        """Whether ``url`` may be requested. Raises RobotsUnreachableError where that cannot be known now."""
        ruling = await self._ruling(url.origin())
        if ruling.unreachable is not None:
            raise RobotsUnreachableError(ruling.unreachable)
        return ruling.rules is None or bool(ruling.rules.can_fetch(str(as_one_path(url)), _US))

    async def close(self) -> None:
        """Give up what is being requested."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ruling(self, origin: URL) -> _Ruling:
        """What is kept of ``origin``; else the outcome of the one request that all who ask meanwhile wait for.

        A waiter that gives up, at its own deadline, does not end the others' request.
        """
        ruling = self._kept.get(origin)
        if ruling is not None and self._clock() < ruling.expires:
            self._kept.move_to_end(origin)
            return ruling
        task = self._asking.get(origin)
        if task is None:
            task = self._asking[origin] = asyncio.ensure_future(self._ask(origin))
            task.add_done_callback(lambda done: self._asked(origin, done))
        return await asyncio.shield(task)

    async def _ask(self, origin: URL) -> _Ruling:
        answer = await self._get(origin.with_path("/robots.txt"))
        if _is_unreachable(answer):
            return _Ruling(None, answer, self._clock() + UNREACHABLE_SECONDS, 0)
        text = relevant_rules(answer.body, self._user_agent) if _is_success(answer) else ""
        rules = await asyncio.to_thread(Protego.parse, text) if text else None
        return _Ruling(rules, None, self._clock() + LIFE_SECONDS, len(text))

    def _asked(self, origin: URL, done: asyncio.Task[_Ruling]) -> None:
        del self._asking[origin]
        # The waiters get an exception of `get`; where all have given up, nobody does.
        if not done.cancelled() and done.exception() is None:
            self._keep(origin, done.result())

    def _keep(self, origin: URL, ruling: _Ruling) -> None:
        """Keep ``ruling``, and let go of those not looked up for longest that are too many besides it."""
        outdated = self._kept.pop(origin, None)
        self._kept[origin] = ruling
        self._kept_bytes += ruling.size - (outdated.size if outdated else 0)
        while len(self._kept) > MAX_ORIGINS or (self._kept_bytes > MAX_KEPT_BYTES and len(self._kept) > 1):
            self._kept_bytes -= self._kept.popitem(last=False)[1].size


def relevant_rules(body: bytes, user_agent: str) -> str:
    """The groups of a robots.txt that name ``user_agent`` or ``*``, in plain records; "" where none does.

    ``user_agent`` becomes ``us``. Past `_MAX_WILDCARDS` of them a disallow is cut before its wildcard, so that it
    forbids more, and an allow with one is left out.
    """
    lines: list[str] = []
    names: set[str] = set()
    is_naming, wildcards = False, 0
    for kind, value in _records(body):
        if kind == "User-agent":
            names = names if is_naming else set()
            is_naming = True
            name = {_ANY_CRAWLER: _ANY_CRAWLER, user_agent.lower(): _US}.get(_product(value))
            if name and name not in names:
                lines.append(f"User-agent: {name}")
                names.add(name)
            continue
        is_naming = False
        if not names:
            continue
        wildcards += value.count("*")
        if "*" in value and wildcards > _MAX_WILDCARDS:
            if kind == "Allow":
                continue
            value = value.partition("*")[0] or "/"
        lines.append(f"{kind}: {value}")
    return "\n".join(lines)


def _records(body: bytes) -> Iterator[tuple[str, str]]:
    """The User-agent, Allow and Disallow records of a robots.txt, common misspellings included, in order.

    Other lines are passed by, so that they part no group (section 2.2.4).
    """
    for line in body[:MAX_ROBOTS_BYTES].decode("utf-8-sig", "replace").splitlines():
        record = _RECORD.match(line.partition("#")[0].strip())
        if record:
            yield {"u": "User-agent", "a": "Allow", "d": "Disallow"}[record[1][0].lower()], record["value"]


def _product(value: str) -> str:
    """The product token that a user-agent line begins with, in lower case: ``CCBot/2.0`` is ccbot."""
    match = _PRODUCT.match(value)
    return match[0].lower() if match else ""


def _is_success(answer: RobotsAnswer) -> bool:
    return answer.status is not None and 200 <= answer.status < 300 and answer.error_class is None


def _is_unreachable(answer: RobotsAnswer) -> bool:
    """A 4xx says that there are no rules, except for 429, which Google too reads as a server in trouble."""
    if answer.error_class is not None:
        return answer.error_class not in _UNAVAILABLE
    return answer.status is None or answer.status == 429 or answer.status >= 500
