"""Answers that break HTTP's grammar, as servers send them."""

from __future__ import annotations

BODY = b"\xff\xd8\xff\xe0" + bytes(range(1, 200)) * 3
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
HALVES = (BODY[:100], BODY[100:])


def sent(*headers, body=BODY, status=b"HTTP/1.1 200 OK", end=b"\r\n"):
    return end.join([status, *headers, b"", b""]) + body


def chunked(size=b"%x\r\n", end=b"\r\n", last=b"0\r\n\r\n"):
    return b"".join(size % len(half) + half + end for half in HALVES) + last


UNTIDY = {
    "equal lengths": sent(LENGTH, LENGTH),
    "a list of lengths": sent(b"%s, %d" % (LENGTH, len(BODY))),
    "an empty length": sent(b"Content-Length: "),
    "a length in words": sent(b"Content-Length: unknown"),
    "a length in hex": sent(b"Content-Length: 0x259"),
    "a negative length": sent(b"Content-Length: -1"),
    "a length with a sign": sent(b"Content-Length: +%d" % len(BODY)),
    "a length with a unit": sent(LENGTH + b" bytes"),
    "chunks before a length": sent(CHUNKED, b"Content-Length: 7", body=chunked()),
    "chunks after a length": sent(b"Content-Length: 7", CHUNKED, body=chunked()),
    "identity and a length": sent(b"Transfer-Encoding: identity", LENGTH),
    "gzip that is none, and a length": sent(b"Transfer-Encoding: gzip", LENGTH),
    "a line without a colon": sent(b"garbage line", LENGTH),
    "a mailbox's line": sent(b"From me to you", LENGTH),
    "a name with a space": sent(b"X Foo: 1", LENGTH),
    "a space before the colon": sent(b"X-Foo : 1", LENGTH),
    "no name": sent(b": 1", LENGTH),
    "a name with brackets": sent(b"X(a)[b]: 1", LENGTH),
    "a name that is not ASCII": sent("X-é: 1".encode(), LENGTH),
    "a NUL in a value": sent(b"X-A: a\x00b", LENGTH),
    "a carriage return in a value": sent(b"X-A: a\rb", LENGTH),
    "HTTP/1.2": sent(LENGTH, status=b"HTTP/1.2 200 OK"),
    "HTTP/1.10": sent(LENGTH, status=b"HTTP/1.10 200 OK"),
    "HTTP/0.9 with a head": sent(status=b"HTTP/0.9 200 OK"),
    "two spaces in the status line": sent(LENGTH, status=b"HTTP/1.1  200  OK"),
    "tabs in the status line": sent(LENGTH, status=b"HTTP/1.1\t200\tOK"),
    "a space before the status line": sent(LENGTH, status=b" HTTP/1.1 200 OK"),
    "a status of four digits": sent(LENGTH, status=b"HTTP/1.1 0200 OK"),
    "no reason": sent(LENGTH, status=b"HTTP/1.1 200"),
    "a control character in the reason": sent(LENGTH, status=b"HTTP/1.1 200 O\x01K"),
    "lines without carriage returns": sent(LENGTH, end=b"\n"),
    "such lines, and chunks": sent(CHUNKED, end=b"\n", body=chunked(size=b"%x;\x01\n")),
    "a folded header": sent(b"X-A: 1", b"  2", LENGTH),
    "a folded line first": sent(b" X-A: 1", LENGTH),
    "a folded line after garbage": sent(b"garbage", b" more: of it", LENGTH),
    "an untidy interim answer": b"HTTP/1.1 100 Continue\r\ngarbage\r\n\r\n" + sent(b"garbage", LENGTH),
    "one in lines without carriage returns": b"HTTP/1.1 100 Continue\n\n" + sent(b"garbage", LENGTH, end=b"\n"),
    "a chunk's extension of garbage": sent(CHUNKED, body=chunked(size=b"%x;\x01=\xff \r\n")),
    "a chunk's extension after a space": sent(CHUNKED, body=chunked(size=b"%x ; a b\r\n")),
    "a space before a chunk's size": sent(CHUNKED, body=chunked(size=b" %x\r\n")),
    "a chunk's size with 0x": sent(CHUNKED, body=chunked(size=b"0x%x\r\n")),
    "a chunk's size without a carriage return": sent(CHUNKED, body=chunked(size=b"%x\n")),
    "other bytes after a chunk": sent(CHUNKED, body=chunked(end=b"xx")),
    "a trailer of garbage": sent(CHUNKED, body=chunked(last=b"0\r\ngarbage here\r\n\r\n")),
    "no line after the last chunk": sent(CHUNKED, body=chunked(last=b"0\r\n")),
    "no end of the last chunk's line": sent(CHUNKED, body=chunked(last=b"0")),
    "untidy head and chunks": sent(CHUNKED, b"garbage", body=chunked(size=b"%x;\x01\r\n", last=b"0\r\n")),
    "bytes after the body": sent(LENGTH, b"garbage") + b"more",
}
"""Each is read by urllib."""

REFUSED = {
    "lengths that differ": sent(LENGTH, b"Content-Length: 7"),
    "a list of such": sent(b"%s, 7" % LENGTH),
    "a length past all numbers": sent(b"Content-Length: " + b"9" * 30),
    "a body that ends early": sent(b"garbage", LENGTH, body=BODY[:-1]),
    "chunks that end early": sent(CHUNKED, body=chunked(size=b"%x;\x01\r\n", last=b"")),
    "no chunks where there should be": sent(b"garbage", CHUNKED),
    "a chunk larger than it says": sent(CHUNKED, body=b"5\r\n" + BODY),
    "a negative chunk": sent(CHUNKED, body=b"-5\r\n" + BODY),
    "a chunk past all numbers": sent(CHUNKED, body=b"f" * 60 + b"\r\n" + BODY),
    "a size line without end": sent(CHUNKED, body=b"5;\x01" + b"y" * 100_000),
    "trailers without end": sent(CHUNKED, body=chunked(last=b"0\r\n" + b"x\r\n" * 100_000)),
    "no status": sent(LENGTH, status=b"HTTP/1.1 OK"),
    "a status with letters": sent(LENGTH, status=b"HTTP/1.1 200OK"),
    "another version": sent(LENGTH, status=b"HTTP/2 200 OK"),
    "another protocol": sent(LENGTH, status=b"ICY 200 OK"),
    "a head without end": b"HTTP/1.1 200 OK\r\ngarbage\r\n" + b"X: y\r\n" * 20_000,
    "a head that is cut off": b"HTTP/1.1 200 OK\r\ngarbage\r\nContent-",
    "too many headers": sent(b"garbage", *[b"X-%d: y" % number for number in range(500)], LENGTH),
    "a header that is too long": sent(b"garbage", b"X: " + b"y" * 20_000, LENGTH),
    "interim answers without end": b"HTTP/1.1 100 Continue\r\ngarbage\r\n\r\n" * 100 + sent(LENGTH),
}
