"""A name server that lies, fails or says nothing (RFC 1035, over UDP; as much of it as the tests need)."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_address

Records = Sequence[str]
"""What a name leads to: addresses, or another name and what that leads to."""
Zone = Mapping[str, "Records | int | bytes | Callable[[int], Records] | None"]
"""By name: records, an error code, bytes that are no answer, None for silence, or records by how often its
IPv4 addresses were requested, from 1. A name that is not there does not exist."""

SERVER_FAILURE, NO_SUCH_NAME, REFUSED = 2, 3, 5
_A, _CNAME, _AAAA = 1, 5, 28
_ANSWER = 0x8180  # a response, recursion desired and available


@contextmanager
def serve_names(zone: Zone) -> Iterator[str]:
    """Answer for ``zone`` while the block runs; yields ADDRESS:PORT."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_answer_all, args=(server, zone), name="names")
        thread.start()
        address = server.getsockname()
        try:
            yield f"{address[0]}:{address[1]}"
        finally:
            server.sendto(b"", address)
            thread.join()


def _answer_all(server: socket.socket, zone: Zone) -> None:
    counts = Counter[str]()
    while True:
        query, client = server.recvfrom(512)
        if not query:
            return
        name, kind = _question(query)
        counts[name] += kind == _A
        wanted = zone.get(name, NO_SUCH_NAME)
        if callable(wanted):
            wanted = wanted(counts[name])
        if wanted is not None:
            server.sendto(wanted if isinstance(wanted, bytes) else _reply(query, kind, wanted), client)


def _question(query: bytes) -> tuple[str, int]:
    labels, at = [], 12
    while size := query[at]:
        labels.append(query[at + 1 : at + 1 + size].decode())
        at += 1 + size
    return ".".join(labels).lower(), struct.unpack_from(">H", query, at + 1)[0]


def _reply(query: bytes, kind: int, wanted: Records | int) -> bytes:
    end = query.index(b"\0", 12) + 5
    question = query[12:end]
    if isinstance(wanted, int):
        return query[:2] + struct.pack(">5H", _ANSWER | wanted, 1, 0, 0, 0) + question
    answers, owner = [], b"\xc0\x0c"  # the name that was requested
    for record, data in map(_record, wanted):
        if record in (kind, _CNAME):
            answers.append(owner + struct.pack(">HHIH", record, 1, 0, len(data)) + data)
        owner = data if record == _CNAME else owner
    return query[:2] + struct.pack(">5H", _ANSWER, 1, len(answers), 0, 0) + question + b"".join(answers)


def _record(text: str) -> tuple[int, bytes]:
    try:
        address = ip_address(text)
    except ValueError:
        return _CNAME, b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"
    return (_A if isinstance(address, IPv4Address) else _AAAA), address.packed
