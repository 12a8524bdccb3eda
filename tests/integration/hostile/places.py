"""URLs that lead, at once or by a redirect, to where no download may go."""

from __future__ import annotations

from clipsieve.schemas.outcomes import ErrorClass
from tests.integration.hostile.page import End, Page, answer, page
from tests.integration.hostile.wire import IMAGE

FORBIDDEN, INVALID, SCHEME = (
    ErrorClass.FORBIDDEN_ADDRESS,
    ErrorClass.INVALID_URL,
    ErrorClass.SCHEME_NOT_ALLOWED,
)

FORBIDDEN_HOSTS: tuple[str, ...] = (
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7F.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "localhost",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:2]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001::1]",
    "[fe80::1]",
    "[fd00::1]",
    "[ff02::1]",
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "2852039166",
    "[::ffff:169.254.169.254]",
    "[fd00:ec2::254]",
    "168.63.129.16",
    "198.18.0.1",
    "192.0.2.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
    "127\u30020\u30020\u30021",
    "\u2460\u2461\u2466.0.0.1",
)
"""Every one is this machine, a network's own, a cloud's metadata service or nobody's, in one spelling or another."""

ELSEWHERE: dict[str, tuple[str, tuple[End, ...]]] = {
    "file": ("file:///etc/passwd", (SCHEME,)),
    "file_host": ("file://127.0.0.1/etc/passwd", (SCHEME,)),
    "data": ("data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs=", (SCHEME,)),
    "ftp": ("ftp://127.0.0.1:{forbidden}/a.jpg", (SCHEME,)),
    "gopher": ("gopher://127.0.0.1:{forbidden}/_GET%20/", (SCHEME,)),
    "javascript": ("javascript:alert(1)", (SCHEME,)),
    "blob": ("blob:http://127.0.0.1:{forbidden}/1", (SCHEME,)),
    "websocket": ("ws://127.0.0.1:{forbidden}/", (SCHEME,)),
    "credentials": ("http://user:secret@127.0.0.1:{main}/sound", (INVALID,)),
    "user": ("http://user@127.0.0.1:{main}/sound", (INVALID,)),
    "host_as_user": ("http://127.0.0.1:{main}@127.0.0.2:{forbidden}/", (INVALID,)),
    "no_host": ("http:///sound", (INVALID,)),
    "open_bracket": ("http://[::1/", (INVALID,)),
    "port_too_large": ("http://127.0.0.1:99999/", (INVALID,)),
    "port_not_a_number": ("http://127.0.0.1:http/", (INVALID,)),
    "space_in_host": ("http://127.0.0.1 127.0.0.2:{forbidden}/", (INVALID, ErrorClass.HOST_NOT_FOUND, FORBIDDEN)),
    "backslash": ("http:\\\\127.0.0.2:{forbidden}\\", (INVALID, FORBIDDEN)),
    "backslash_before_at": ("http://127.0.0.1:{forbidden}\\@127.0.0.1:{main}/sound", (INVALID, FORBIDDEN)),
    "header_in_path": ("http://127.0.0.1:{main}/missing HTTP/1.1\r\nX: y", (INVALID, ErrorClass.HTTP_ERROR)),
}

ONLY_AS_ROWS: dict[str, tuple[str | None, tuple[End, ...]]] = {
    "null": (None, (INVALID,)),
    "nothing": ("", (INVALID,)),
    "spaces": ("  \t ", (INVALID,)),
    "no_url": ("not a url", (INVALID,)),
    "path": ("/sound", (INVALID,)),
    "no_scheme": ("//127.0.0.1:{main}/sound", (INVALID,)),
    "nul": ("http://127.0.0.1:{main}/\0", (INVALID, ErrorClass.HTTP_ERROR)),
    "plain_on_tls": ("http://127.0.0.1:{tls}/sound", (ErrorClass.CONNECTION_ERROR, ErrorClass.PROTOCOL_ERROR)),
    "tls_on_plain": ("https://127.0.0.1:{main}/sound", (ErrorClass.TLS_ERROR,)),
    "self_signed": ("https://127.0.0.1:{tls}/sound", (ErrorClass.TLS_ERROR,)),
    "closed_port": ("http://127.0.0.1:{closed}/", (ErrorClass.CONNECTION_ERROR,)),
}


def moved(location: str, status: str = "302 Found") -> bytes:
    return answer(status=status, Location=location)


def _chain(length: int) -> dict[str, Page]:
    """Redirects from ``/chain_LENGTH`` to ``/chain_1`` and on to an image."""
    steps = {f"chain_{n}": page(moved(f"/chain_{n - 1}")) for n in range(2, length + 1)}
    return {"chain_1": page(moved("/sound")), **steps}


def _to(url: str, ends: tuple[End, ...]) -> Page:
    return page(moved(url), *ends)


TOO_MANY = ErrorClass.TOO_MANY_REDIRECTS
REDIRECTS: dict[str, Page] = {
    **_chain(5),
    "chain_6": page(moved("/chain_5"), TOO_MANY),
    "to_itself": page(moved("/to_itself"), TOO_MANY),
    "ping": page(moved("/pong"), TOO_MANY),
    "pong": page(moved("/ping"), TOO_MANY),
    **{
        f"moved_by_{status[:3]}": page(moved("/sound", status))
        for status in ("301 Moved", "303 See Other", "307 Temporary", "308 Permanent")
    },
    "moved_relative": page(moved("sound")),
    "moved_with_fragment": page(moved("/sound#x")),
    "moved_to_no_place": page(answer(IMAGE, "301 Moved"), ErrorClass.HTTP_ERROR),
    "moved_to_nothing": page(moved(""), TOO_MANY),
    "moved_to_long_url": page(moved("/" + "x" * 12_000), ErrorClass.HTTP_ERROR),
    "moved_to_no_scheme": page(moved("//127.0.0.2:{forbidden}/"), FORBIDDEN),
    "moved_to_self_signed": page(moved("https://127.0.0.1:{tls}/sound"), ErrorClass.TLS_ERROR),
    "moved_to_html": page(moved("/html_called_jpeg"), ErrorClass.NOT_AN_IMAGE),
    "multiple_choices": page(
        answer(IMAGE, "300 Choices", Location="http://127.0.0.2:{forbidden}/"), ErrorClass.HTTP_ERROR
    ),
    **{
        f"moved_to_host_{n}": _to(f"http://{host}:{{forbidden}}/", (FORBIDDEN,))
        for n, host in enumerate(FORBIDDEN_HOSTS)
    },
    **{f"moved_to_{name}": _to(url, ends) for name, (url, ends) in ELSEWHERE.items() if "\r" not in url},
}
