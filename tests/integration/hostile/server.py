"""The hostile web itself: listeners on loopback, some of which nothing may ever come near."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from clipsieve.schemas.threads import Future
from tests.integration.hostile.page import Page, Stream, answer

NOT_FOUND = answer(b"not found", "404 Not Found", "text/plain")
BAD_REQUEST = answer(b"plain HTTP is spoken here", "400 Bad Request", "text/plain")

_TLS_HANDSHAKE = b"\x16"


@dataclass
class Visit:
    """A request: for which path of which port, and from when to when its connection was open, in seconds."""

    port: int
    path: str
    opened: float
    closed: float | None = None

    @property
    def page(self) -> str:
        return self.path.removeprefix("/").partition("?")[0]


@dataclass
class HostileWeb:
    """The pages, where they are served, and who came."""

    pages: Mapping[str, Page]
    host: str = "127.0.0.1"
    ports: dict[str, int] = field(default_factory=dict)
    """Of ``main``, ``tls``, ``closed``, ``forbidden`` and of each page that has its own."""
    visits: list[Visit] = field(default_factory=list)
    trespasses: list[str] = field(default_factory=list)
    """Addresses at which the forbidden port was met."""

    def fill(self, text: str) -> str:
        """``text`` with the ports' numbers in it."""
        for name in ("main", "tls", "closed", "forbidden"):
            text = text.replace(f"{{{name}}}", str(self.ports[name]))
        return text

    def url(self, name: str) -> str:
        return f"http://{self.host}:{self.ports.get(name, self.ports['main'])}/{name}"

    def reply_to(self, visit: Visit) -> bytes | Stream:
        if visit.path == "/robots.txt":
            owners = (page.robots for name, page in self.pages.items() if self.ports.get(name) == visit.port)
            return next(owners, None) or NOT_FOUND
        page = self.pages.get(visit.page)
        return page.reply if page else NOT_FOUND

    @property
    def allowed_hosts(self) -> list[str]:
        return [f"{self.host}:{port}" for name, port in self.ports.items() if name != "forbidden"]


@contextmanager
def serve(pages: Mapping[str, Page], folder: Path, host: str = "127.0.0.1") -> Iterator[HostileWeb]:
    """Serve ``pages`` on ``host`` while the block runs; ``folder`` is for a certificate."""
    web, started, loop = HostileWeb(pages, host), Future[asyncio.Event](), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(_serve(web, _self_signed(folder), started),))
    thread.start()
    stop = started.result()
    try:
        yield web
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _serve(web: HostileWeb, tls: ssl.SSLContext, started: Future[asyncio.Event]) -> None:
    stop, servers = asyncio.Event(), []

    async def listen(
        name: str, handle: Stream, host: str = web.host, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        servers.append(await asyncio.start_server(handle, host, port, backlog=512, ssl=tls))
        web.ports[name] = servers[-1].sockets[0].getsockname()[1]

    async def answer_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(web, reader, writer)

    async def note_trespass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        web.trespasses.append(writer.get_extra_info("sockname")[0])
        writer.close()

    try:
        await listen("closed", answer_request)
        servers.pop().close()
        await listen("main", answer_request)
        await listen("tls", answer_request, tls=tls)
        await listen("forbidden", note_trespass, "0.0.0.0")
        await listen("forbidden", note_trespass, "::", web.ports["forbidden"])
        for name in (name for name, page in web.pages.items() if page.has_own_port):
            await listen(name, answer_request)
        started.set_result(stop)
        await stop.wait()
    except BaseException as error:
        started.set_exception(error)
        raise
    finally:
        for server in servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def _answer(web: HostileWeb, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        if await reader.readexactly(1) == _TLS_HANDSHAKE:
            writer.write(BAD_REQUEST)
        else:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            visit = Visit(writer.get_extra_info("sockname")[1], path, time.monotonic())
            web.visits.append(visit)
            try:
                await _reply(web, web.reply_to(visit), reader, writer)
            finally:
                visit.closed = time.monotonic()
    writer.close()


async def _reply(
    web: HostileWeb, reply: bytes | Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    if callable(reply):
        await reply(reader, writer)
    else:
        writer.write(_filled(web, reply))
        await writer.drain()


def _filled(web: HostileWeb, reply: bytes) -> bytes:
    """A redirect's reply with the ports' numbers in it; a body's bytes are nobody's template."""
    head, end, body = reply.partition(b"\r\n\r\n")
    return web.fill(head.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape") + end + body


def _self_signed(folder: Path) -> ssl.SSLContext:
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
