"""A small web on loopback, as unreliable as the real one: what the quickstart and the tests download from.

Every page has one behaviour and answers each request alike, but for FLAKY, which fails every other time.
"""

from __future__ import annotations

import asyncio
import mimetypes
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum

from aiohttp import web

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.threads import Future

HOST = "127.0.0.1"
PRIVATE_URL = "http://10.0.0.1/private.png"

_HTML = b"<!doctype html><title>Sign in</title><p>Sign in to see this image."
_CHUNK = bytes(1 << 16)
_OVERSIZE_CHUNKS = 1 << 12


class Behaviour(str, Enum):
    """What the server does when it is asked for a page."""

    OK = "ok"
    WRONG_TYPE = "wrong_type"  # the image, called text/plain
    REDIRECT = "redirect"  # to where the image is
    REDIRECT_LOOP = "redirect_loop"
    REDIRECT_PRIVATE = "redirect_private"  # to an address that no public page has business with
    NOT_FOUND = "not_found"
    HTML = "html"  # a page of text, with status 200
    NOAI = "noai"  # the image, and X-Robots-Tag: noai
    TRUNCATED = "truncated"  # the connection ends in the middle of the announced length
    OVERSIZED = "oversized"  # the image, then 256 MiB of zeros
    STALL = "stall"  # no answer
    FLAKY = "flaky"  # status 500; the image at the second try


@dataclass(frozen=True)
class Page:
    """An image, and how the server behaves when it is asked for it."""

    image: bytes
    behaviour: Behaviour = Behaviour.OK


@contextmanager
def serve(pages: Mapping[str, Page], port: int = 0) -> Iterator[str]:
    """Serve ``pages``, by path (``/cat.png``), on 127.0.0.1 while the block runs; yields ``http://127.0.0.1:PORT``.

    Port 0 is any free one. Raises InputError when the port is taken.
    """
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    started: Future[int] = Future()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(_serve(pages, port, stop, started),), name="web", daemon=True
    )
    thread.start()
    try:
        yield f"http://{HOST}:{started.result()}"
    finally:
        if not started.exception():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _serve(pages: Mapping[str, Page], port: int, stop: asyncio.Event, started: Future[int]) -> None:
    app = web.Application()
    app.router.add_get("/{path:.*}", _Site(pages, stop).answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port, shutdown_timeout=1.0)
        await site.start()
        started.set_result(runner.addresses[0][1])
        await stop.wait()
    except OSError as error:
        reason = f"port {port} of {HOST} cannot be served ({error.strerror}); choose another"
        started.set_exception(InputError(reason))
    finally:
        await runner.cleanup()


class _Site:
    def __init__(self, pages: Mapping[str, Page], stop: asyncio.Event) -> None:
        self._pages = pages
        self._stop = stop
        self._tries: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        page = self._pages.get(request.path)
        if page is None:
            return web.Response(status=404, text="not found")
        if "moved" in request.query:
            return _image(request, page)
        self._tries[request.path] += 1
        if page.behaviour in _STREAMED:
            return await _STREAMED[page.behaviour](request, page, self._stop)
        return _AT_ONCE[page.behaviour](request, page, self._tries[request.path])


def _image(request: web.Request, page: Page, content_type: str | None = None, **headers: str) -> web.Response:
    guessed = mimetypes.guess_type(request.path)[0] or "application/octet-stream"
    return web.Response(body=page.image, content_type=content_type or guessed, headers=headers)


def _moved(target: str) -> web.Response:
    return web.Response(status=302, headers={"Location": target})


def _flaky(request: web.Request, page: Page, tries: int) -> web.Response:
    return _image(request, page) if tries % 2 == 0 else web.Response(status=500, text="try again")


_AT_ONCE: dict[Behaviour, Callable[[web.Request, Page, int], web.Response]] = {
    Behaviour.OK: lambda request, page, _: _image(request, page),
    Behaviour.WRONG_TYPE: lambda request, page, _: _image(request, page, "text/plain"),
    Behaviour.REDIRECT: lambda request, page, _: _moved(f"{request.path}?moved"),
    Behaviour.REDIRECT_LOOP: lambda request, page, _: _moved(request.path),
    Behaviour.REDIRECT_PRIVATE: lambda request, page, _: _moved(PRIVATE_URL),
    Behaviour.NOT_FOUND: lambda request, page, _: web.Response(status=404, text="not found"),
    Behaviour.HTML: lambda request, page, _: web.Response(body=_HTML, content_type="text/html"),
    Behaviour.NOAI: lambda request, page, _: _image(request, page, **{"X-Robots-Tag": "noai"}),
    Behaviour.FLAKY: _flaky,
}


async def _truncated(request: web.Request, page: Page, stop: asyncio.Event) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(page.image))})
    await response.prepare(request)
    await response.write(page.image[: len(page.image) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _oversized(request: web.Request, page: Page, stop: asyncio.Event) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    with suppress(ConnectionError):  # the client has seen enough
        await response.write(page.image)
        for _ in range(_OVERSIZE_CHUNKS):
            await response.write(_CHUNK)
    return response


async def _stall(request: web.Request, page: Page, stop: asyncio.Event) -> web.StreamResponse:
    await stop.wait()
    return web.Response(status=503)


_STREAMED: dict[Behaviour, Callable[[web.Request, Page, asyncio.Event], Awaitable[web.StreamResponse]]] = {
    Behaviour.TRUNCATED: _truncated,
    Behaviour.OVERSIZED: _oversized,
    Behaviour.STALL: _stall,
}
