"""Answers whose owner says whether they may be used: X-Robots-Tag, robots.txt and tdm-reservation."""

from __future__ import annotations

from clipsieve.schemas.outcomes import Consent, ErrorClass
from tests.integration.hostile.page import End, Page, Stream, answer, head, page
from tests.integration.hostile.wire import IMAGE, PAUSE, resets, sends

REFUSED = ErrorClass.OPTED_OUT


def _tagged(*values: str) -> bytes:
    return head(*(f"X-Robots-Tag: {value}" for value in values), f"Content-Length: {len(IMAGE)}") + IMAGE


_FORBIDDING = {
    "noai": ("noai",),
    "noimageai": ("noimageai",),
    "noindex": ("noindex",),
    "noimageindex": ("noimageindex",),
    "none": ("none",),
    "capitals": ("NoAI",),
    "second_of_two": ("max-image-preview:large, noai",),
    "second_header": ("all", "noai"),
    "for_us": ("clipsieve: noai",),
    "for_us_in_capitals": ("ClipSieve: noindex",),
    "noai_for_another": ("googlebot: noai",),
    "behind_a_date": ("unavailable_after: 25 Jun 2100 15:00:00 PST, noai",),
}
_ALLOWING = {
    "all": ("all",),
    "nofollow": ("nofollow, nosnippet",),
    "preview_none": ("max-image-preview:none",),
    "noindex_for_another": ("googlebot: noindex",),
    "empty": ("",),
    "noise": (",,:,;=\xff",),
    "notai": ("notai, ai, noaix",),
}

ROBOTS_TAGS: dict[str, Page] = {
    **{
        f"tag_{name}": page(_tagged(*tags), REFUSED, consent=Consent.X_ROBOTS_TAG) for name, tags in _FORBIDDING.items()
    },
    **{f"tag_{name}": page(_tagged(*tags), None) for name, tags in _ALLOWING.items()},
    "tag_on_a_redirect": page(
        answer(status="302 Found", Location="/sound", X_Robots_Tag="noai"), REFUSED, consent=Consent.X_ROBOTS_TAG
    ),
    "tag_on_a_redirect_for_another": page(
        answer(status="302 Found", Location="/sound", X_Robots_Tag="googlebot: noindex"), None
    ),
    "tdm_reserved": page(answer(IMAGE, TDM_Reservation="1"), REFUSED, consent=Consent.TDM_RESERVATION),
    "tdm_not_reserved": page(answer(IMAGE, TDM_Reservation="0"), None),
}


def _rules(*lines: str, status: str = "200 OK") -> bytes:
    return answer("\n".join(lines).encode(), status, "text/plain")


_FOR_ALL = ("User-agent: *", "Disallow: /")
_PADDING = ["#" + "x" * 98] * 10_000


def _file(robots: bytes | Stream, *ends: End) -> Page:
    """A sound image of an origin whose /robots.txt is ``robots``."""
    consent = Consent.ROBOTS_TXT if REFUSED in ends else None
    return page(answer(IMAGE), *ends, robots=robots, consent=consent)


ROBOTS_FILES: dict[str, Page] = {
    "robots_for_all": _file(_rules(*_FOR_ALL), REFUSED),
    "robots_for_us": _file(_rules("User-agent: ClipSieve", "Disallow: /"), REFUSED),
    "robots_for_others": _file(_rules("User-agent: googlebot", "Disallow: /"), None),
    "robots_but_for_us": _file(_rules(*_FOR_ALL, "", "User-agent: clipsieve", "Allow: /"), None),
    "robots_other_path": _file(_rules("User-agent: *", "Disallow: /other"), None),
    "robots_not_there": _file(answer(b"gone", "410 Gone"), None),
    "robots_forbidden": _file(answer(b"no", "403 Forbidden"), None),
    "robots_of_html": _file(answer(b"<html><p>Disallow: /", type="text/html"), None),
    "robots_of_noise": _file(answer(bytes(range(256)) * 1_000), None),
    "robots_not_utf8": _file(answer(b"# \xff\xfe\r\nUser-agent: *\r\nDisallow: /\n"), REFUSED),
    "robots_failing": _file(answer(b"", "503 Later"), ErrorClass.HTTP_ERROR),
    "robots_silent": _file(sends(b""), ErrorClass.TIMEOUT),
    "robots_trickling": _file(sends(head(), b"#", PAUSE), ErrorClass.TIMEOUT),
    "robots_reset": _file(resets(), ErrorClass.CONNECTION_ERROR),
    "robots_not_http": _file(b"SSH-2.0-OpenSSH_9.2\r\n", ErrorClass.PROTOCOL_ERROR),
    "robots_endless": _file(sends(head() + b"User-agent: *\nDisallow: /\n", b"#\n" * 5_000), REFUSED),
    "robots_huge_rules_first": _file(_rules(*_FOR_ALL, *_PADDING), REFUSED),
    "robots_huge_rules_last": _file(_rules(*_PADDING, *_FOR_ALL), None),
    "robots_of_stars": _file(_rules("User-agent: *", *["Disallow: /" + "*a" * 1_000 + "$"] * 100), REFUSED),
    "robots_moved": _file(answer(status="301 Moved", Location="/rules"), REFUSED),
    "robots_in_a_loop": _file(answer(status="302 Found", Location="/robots.txt"), None),
    "robots_moved_to_private": _file(answer(status="302 Found", Location="http://127.0.0.2:{forbidden}/"), None),
}
"""RFC 9309: a file that is not there (4xx, too many redirects) allows all; one that fails allows nothing yet."""

CONSENT = {**ROBOTS_TAGS, **ROBOTS_FILES, "rules": page(_rules(*_FOR_ALL), ErrorClass.NOT_AN_IMAGE)}
