"""A page of the hostile web: what the server does when it is asked for it, and how a row that asks must end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from clipsieve.schemas.outcomes import Consent, ErrorClass

Stream = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""A reply that goes on for a time of its own; what it reads is what the client says after its request."""

End = ErrorClass | None
"""How a row ends; None is success."""


@dataclass(frozen=True)
class Page:
    """One behaviour. A port's number stands in a reply as ``{main}``, ``{tls}`` or ``{forbidden}``."""

    reply: bytes | Stream
    ends: tuple[End, ...]
    """The right classes: one, but where chance or the client's parser may rightly decide."""
    consent: Consent | None = None
    """Who forbade its use, where a row may end so."""
    robots: bytes | Stream | None = None
    """What the page's origin answers when it is asked for /robots.txt; None: status 404."""
    alone: bool = False
    """Whether the page has an origin of its own, for what it does to the others of its host."""

    @property
    def has_own_port(self) -> bool:
        return self.alone or self.robots is not None


def page(
    reply: bytes | Stream,
    *ends: End,
    consent: Consent | None = None,
    robots: bytes | Stream | None = None,
    alone: bool = False,
) -> Page:
    return Page(reply, ends or (None,), consent, robots, alone)


def answer(body: bytes = b"", status: str = "200 OK", type: str = "image/jpeg", **headers: str) -> bytes:
    """A well-formed HTTP/1.1 answer; ``Retry_After="1"`` is the header Retry-After."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {type}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def head(*lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    """The head of an answer as it is written here, right or wrong."""
    return "\r\n".join([status, *lines, "", ""]).encode("latin-1")
