"""Answers that break HTTP, lie about their length, stop half-way or never end."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import zlib
from functools import partial

from clipsieve.schemas.outcomes import ErrorClass
from tests.integration.hostile.page import Page, Stream, answer, head, page
from tests.integration.hostile.pictures import encoded

BROKEN, CUT, LATE = ErrorClass.PROTOCOL_ERROR, ErrorClass.CONNECTION_ERROR, ErrorClass.TIMEOUT
LARGE, FOREIGN, FAILED = ErrorClass.TOO_LARGE, ErrorClass.NOT_AN_IMAGE, ErrorClass.HTTP_ERROR

IMAGE = encoded()
SIZE = len(IMAGE)
ZEROS = bytes(1 << 16)
PAUSE = 0.2


def sends(start: bytes, again: bytes = b"", pause: float = 0.0) -> Stream:
    """``start``, then ``again`` for ever, with a ``pause`` in seconds between; nothing again: silence."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while again:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(pause)
        await reader.read()

    return send


def resets(start: bytes = b"") -> Stream:
    """``start``, then a reset of the connection (RST)."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await writer.drain()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return send


def lengths(*values: str, body: bytes = IMAGE) -> bytes:
    """An answer with these Content-Length headers."""
    return head(*(f"Content-Length: {value}" for value in values)) + body


def chunked(*pieces: bytes) -> bytes:
    return head("Transfer-Encoding: chunked") + b"".join(pieces)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def packed(coding: str, body: bytes) -> bytes:
    return answer(body, Content_Encoding=coding)


SLOW: dict[str, Page] = {
    "silence": page(sends(b""), LATE),
    "silence_after_head": page(sends(head(f"Content-Length: {SIZE}")), LATE),
    "silence_in_body": page(sends(lengths(str(SIZE), body=IMAGE[:100])), LATE),
    "trickle_of_status": page(sends(b"HTTP/1.1 200 O", b"K", PAUSE), LATE),
    "trickle_of_headers": page(sends(head()[:-2], b"a: b\r\n", PAUSE), LATE),
    "trickle_of_untidy_headers": page(sends(head("no header")[:-2], b"a: b\r\n", PAUSE), LATE),
    "trickle_of_body": page(sends(lengths("100000", body=b""), b"x", PAUSE), LATE),
    "trickle_of_chunks": page(sends(chunked(), chunk(b"x"), PAUSE), LATE),
    "trickle_of_interim_answers": page(sends(b"", head(status="HTTP/1.1 102 Processing"), PAUSE), LATE, BROKEN),
}

ENDLESS: dict[str, Page] = {
    "endless_body": page(sends(head() + IMAGE, ZEROS), LARGE),
    "endless_chunks": page(sends(chunked(chunk(IMAGE)), chunk(ZEROS)), LARGE),
    "endless_one_byte_chunks": page(sends(chunked(), chunk(b"x") * 5_000), LARGE),
    "endless_headers": page(sends(head()[:-2], b"x: " + b"y" * 1000 + b"\r\n"), BROKEN),
    "endless_header": page(sends(head()[:-2] + b"x: ", ZEROS.replace(b"\0", b"y")), BROKEN),
    "endless_status_line": page(sends(b"HTTP/1.1 200 ", ZEROS.replace(b"\0", b"y")), BROKEN),
    "endless_interim_answers": page(sends(b"", head(status="HTTP/1.1 100 Continue") * 50), BROKEN),
    "endless_chunk_extension": page(sends(chunked(b"5;"), ZEROS.replace(b"\0", b"y")), LARGE),
    "endless_trailers": page(sends(chunked(chunk(IMAGE), b"0\r\n"), b"x: " + b"y" * 1000 + b"\r\n"), BROKEN),
    "endless_untidy_headers": page(sends(head("no header")[:-2], b"x: " + b"y" * 1000 + b"\r\n"), BROKEN),
    "endless_untidy_body": page(sends(head("no header") + IMAGE, ZEROS), LARGE),
    "endless_redirect_body": page(sends(head("Location: /sound", status="HTTP/1.1 302 Found"), ZEROS), None),
    "endless_error_body": page(sends(head(status="HTTP/1.1 404 Not Found"), ZEROS), FAILED),
}

LENGTHS: dict[str, Page] = {
    "length_too_short": page(lengths(str(SIZE - 700)), ErrorClass.DECODE_ERROR),
    "length_then_more": page(lengths(str(SIZE), body=IMAGE + ZEROS), None),
    "length_too_long": page(lengths(str(SIZE + 700)), CUT),
    "length_over_the_cap": page(sends(lengths("1000000000000")), LARGE),
    "length_of_forty_digits": page(sends(lengths("9" * 40)), BROKEN),
    "length_negative": page(lengths("-1"), None),
    "length_not_a_number": page(lengths("many"), None),
    "length_in_hex": page(lengths(hex(SIZE)), None),
    "length_empty": page(lengths(""), None),
    "lengths_that_differ": page(lengths(str(SIZE), str(SIZE - 1)), BROKEN),
    "length_zero": page(lengths("0", body=b""), ErrorClass.EMPTY_BODY),
    "lengths_that_agree": page(lengths(str(SIZE), f"{SIZE}, {SIZE}"), None),
    "length_beside_chunks": page(
        head(f"Content-Length: {SIZE}", "Transfer-Encoding: chunked") + chunk(IMAGE) + chunk(b""), None
    ),
    "no_length": page(head() + IMAGE, None),
    "no_length_no_body": page(head(), ErrorClass.EMPTY_BODY),
}

CHUNKS: dict[str, Page] = {
    "chunks": page(chunked(chunk(IMAGE[:99]), chunk(IMAGE[99:]), chunk(b"")), None),
    "chunks_of_one_byte": page(chunked(*(chunk(bytes([byte])) for byte in IMAGE), chunk(b"")), None),
    "chunk_size_not_hex": page(chunked(b"zz\r\n", IMAGE), BROKEN),
    "chunk_size_negative": page(chunked(b"-5\r\n", IMAGE), BROKEN),
    "chunk_size_of_sixty_digits": page(chunked(b"f" * 60 + b"\r\n", IMAGE), BROKEN),
    "chunk_larger_than_said": page(chunked(b"5\r\n", IMAGE, b"\r\n"), BROKEN),
    "chunks_with_odd_sizes": page(chunked(b"%x ;\x01\n%s\r\n" % (SIZE, IMAGE), b"0"), None),
    "chunks_odd_and_endless": page(sends(chunked(b"1 ;\x01\n", b"x\r\n"), chunk(ZEROS)), LARGE),
    "chunks_odd_and_cut_off": page(chunked(b"%x ;\x01\n" % SIZE, IMAGE[:100]), CUT),
    "chunks_without_end": page(chunked(chunk(IMAGE)), CUT),
    "chunk_cut_off": page(chunked(b"%x\r\n" % SIZE, IMAGE[:100]), CUT),
    "chunks_none": page(chunked(chunk(b"")), ErrorClass.EMPTY_BODY),
}

CODINGS: dict[str, Page] = {
    "gzip_bomb": page(packed("gzip", gzip.compress(bytes(1 << 26))), LARGE),
    "gzip_bomb_twice": page(packed("gzip, gzip", gzip.compress(gzip.compress(bytes(1 << 26)))), LARGE),
    "deflate_bomb": page(packed("deflate", zlib.compress(bytes(1 << 26))), LARGE),
    "brotli": page(packed("br", b"\x8b\x07\x80" + IMAGE), FOREIGN),
    "zstd": page(packed("zstd", b"\x28\xb5\x2f\xfd" + IMAGE), FOREIGN),
    "gzip_of_an_image": page(packed("gzip", gzip.compress(IMAGE)), None),
    "image_called_gzip": page(packed("gzip", IMAGE), None),
    "coding_unknown": page(packed("rot13", IMAGE), None),
    "transfer_in_gzip": page(head("Transfer-Encoding: gzip") + gzip.compress(IMAGE), FOREIGN),
}

RESETS: dict[str, Page] = {
    "reset_before_status": page(resets(), CUT),
    "reset_in_status": page(resets(b"HTTP/1."), CUT),
    "reset_in_headers": page(resets(head("Content-Type: image/jpeg")[:-5]), CUT),
    "reset_in_untidy_headers": page(resets(head("no header")[:-2]), CUT),
    "reset_after_headers": page(resets(head(f"Content-Length: {SIZE}")), CUT),
    "reset_in_body": page(resets(lengths(str(SIZE), body=IMAGE[:100])), CUT),
    "reset_in_chunk": page(resets(chunked(b"%x\r\n" % SIZE, IMAGE[:100])), CUT),
    "closed_without_answer": page(b"", CUT),
    "closed_in_status": page(b"HTTP/1.1 20", CUT),
    "closed_in_headers": page(head("Content-Type: image/jpeg")[:-5], CUT),
}

NOT_HTTP: dict[str, Page] = {
    "ssh_banner": page(b"SSH-2.0-OpenSSH_9.2\r\n", BROKEN),
    "smtp_banner": page(b"220 mail.example.org ESMTP\r\n", BROKEN),
    "http_0_9": page(IMAGE, BROKEN),
    "html_without_head": page(b"<html>no head</html>", BROKEN),
    "tls_alert_on_plain_port": page(b"\x15\x03\x01\x00\x02\x02\x28", BROKEN),
    "zeros": page(ZEROS, BROKEN),
    "status_not_a_number": page(head(status="HTTP/1.1 OK 200"), BROKEN),
    "status_of_four_digits": page(head(status="HTTP/1.1 2000 OK"), BROKEN),
    "version_unknown": page(head(status="HTTP/9.9 200 OK") + IMAGE, BROKEN),
    "header_without_name": page(head(": nothing") + IMAGE, None),
    "header_without_colon": page(head("nothing") + IMAGE, None),
    "header_name_with_space": page(head("Content Type: image/jpeg") + IMAGE, None),
    "header_with_nul": page(head("X: a\0b") + IMAGE, None),
    "header_of_one_megabyte": page(head("X: " + "y" * 1_000_000) + IMAGE, BROKEN),
    "headers_ten_thousand": page(head(*(f"X-{n}: y" for n in range(10_000))) + IMAGE, BROKEN),
    "type_of_one_megabyte": page(head("Content-Type: " + "y" * 1_000_000) + IMAGE, BROKEN),
    "type_not_text": page(head("Content-Type: image/\xff\xfe") + IMAGE, None),
    "cookies": page(head(*(f"Set-Cookie: c{n}=1" for n in range(50))) + IMAGE, None),
    "early_hints": page(head(status="HTTP/1.1 103 Early Hints") + answer(IMAGE), None),
    "switching_protocols": page(head("Upgrade: h2c", "Connection: upgrade", status="HTTP/1.1 101 Go") + IMAGE, FAILED),
}

FAILURES = (
    "400 Bad Request",
    "401 Unauthorized",
    "402 Payment Required",
    "403 Forbidden",
    "404 Not Found",
    "407 Proxy Authentication Required",
    "408 Request Timeout",
    "410 Gone",
    "418 I'm a teapot",
    "425 Too Early",
    "451 Unavailable For Legal Reasons",
    "500 Internal Server Error",
    "501 Not Implemented",
    "502 Bad Gateway",
    "505 HTTP Version Not Supported",
    "599 Nobody Knows",
    "999 Request Denied",
)

STATUSES: dict[str, Page] = {
    **{f"status_{text[:3]}": page(answer(IMAGE, text), FAILED) for text in FAILURES},
    "status_304": page(head(status="HTTP/1.1 304 Not Modified"), FAILED),
    "status_201": page(answer(IMAGE, "201 Created"), None),
    "status_204": page(head(status="HTTP/1.1 204 No Content"), ErrorClass.EMPTY_BODY),
    "status_without_reason": page(head(f"Content-Length: {SIZE}", status="HTTP/1.1 200") + IMAGE, None),
}

_later = partial(answer, IMAGE, "429 Too Many Requests")
_huge = str(10**30)

THROTTLED: dict[str, Page] = {
    "throttled": page(_later(), FAILED, alone=True),
    "throttled_for_no_time": page(_later(Retry_After="0"), FAILED, alone=True),
    "throttled_for_a_second": page(_later(Retry_After="1"), FAILED, alone=True),
    "throttled_for_a_day": page(_later(Retry_After="86400"), FAILED, alone=True),
    "throttled_for_ever": page(_later(Retry_After=_huge), FAILED, alone=True),
    "throttled_for_minus_one": page(_later(Retry_After="-1"), FAILED, alone=True),
    "throttled_in_words": page(_later(Retry_After="soon"), FAILED, alone=True),
    "throttled_to_a_past_date": page(_later(Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), FAILED, alone=True),
    "throttled_to_a_far_date": page(_later(Retry_After="Fri, 31 Dec 9999 23:59:59 GMT"), FAILED, alone=True),
    "throttled_to_no_date": page(_later(Retry_After="Xyz, 99 Foo 0000 99:99:99 GMT"), FAILED, alone=True),
    "unavailable_for_a_second": page(answer(IMAGE, "503 Later", Retry_After="1"), FAILED, alone=True),
}

WIRE = {**SLOW, **ENDLESS, **LENGTHS, **CHUNKS, **CODINGS, **RESETS, **NOT_HTTP, **STATUSES, **THROTTLED}
