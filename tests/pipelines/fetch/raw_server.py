"""A server that sends the bytes that a test says, and a certificate for it."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import suppress


class RawServer:
    """Answers its n-th request with the n-th of ``answers``, the last for ever, or with what ``answers(path)`` is.

    Behind an answer it closes the connection, or keeps it and ``then`` says no more ("linger") or takes the next
    request ("keep").
    """

    def __init__(self, answers, tls=None, then="close"):
        self._answers, self._tls, self._then = answers, tls, then
        self._writers = set()
        self.requests = []
        self.connections = 0
        self.port = 0

    async def open(self):
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", self.port, ssl=self._tls, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self):
        """Break all connections and refuse new ones, until it is opened again."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    @property
    def paths(self):
        return [request.split()[1] for request in self.requests]

    async def __aenter__(self):
        await self.open()
        return self

    async def __aexit__(self, *_):
        self.close()

    async def _handle(self, reader, writer):
        self.connections += 1
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                await self._send(writer, self._answer())
                if self._then == "linger":
                    await reader.read()
                if self._then != "keep":
                    break
        self._writers.discard(writer)
        writer.close()

    async def _send(self, writer, reply):
        writer.write(reply)
        await writer.drain()

    def _answer(self):
        if callable(self._answers):
            return self._answers(self.paths[-1])
        return self._answers[min(len(self.requests), len(self._answers)) - 1]


def answer(status="200 OK", body=b"bytes", **headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def certified(folder, host="localhost"):
    """A server's TLS context, and the path of its certificate, which is ``host``'s own."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={host}"]
    names = ["-addext", f"subjectAltName=DNS:{host}"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    return tls, certificate
