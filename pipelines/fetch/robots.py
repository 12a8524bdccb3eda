"""The headers of a response by which an owner forbids its use.

``X-Robots-Tag``, and ``tdm-reservation`` of TDMRep, the W3C community group's protocol by which a site reserves the
right of text and data mining. TDMRep's ``tdm-policy`` only says where a licence may be had. Its
``/.well-known/tdmrep.json`` is not requested: it would cost one more request for every origin, most of which hold a few
images of a pool, and what it says of paths a site can say in robots.txt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from multidict import MultiMapping

from clipsieve.schemas.outcomes import Consent

ROBOTS_HEADER = "X-Robots-Tag"
TDM_HEADER = "tdm-reservation"

NO_AI = frozenset({"noai", "noimageai"})
"""Directives on use, whoever crawls; DeviantArt's, which img2dataset heeds too."""
NO_INDEX = frozenset({"noindex", "noimageindex", "none"})
"""Directives on indexing, which bind the crawlers that they are addressed to; none is noindex, nofollow."""

_ANY_CRAWLER = "*"
# What may stand before a colon: a directive that takes a value, or the name of a crawler, version and all.
_WITH_VALUE = re.compile(r"max-[a-z-]+|unavailable_after")
_CRAWLER = re.compile(r"(\*|[a-z_-][a-z0-9_.-]*)(/\S*)?")


def header_opt_out(headers: MultiMapping[str], user_agent: str) -> Consent | None:
    """What in an answer's headers forbids its use by ``user_agent``; None where nothing does."""
    if forbids_use(headers.getall(ROBOTS_HEADER, []), user_agent):
        return Consent.X_ROBOTS_TAG
    if reserves(headers.getall(TDM_HEADER, [])):
        return Consent.TDM_RESERVATION
    return None


def reserves(values: Iterable[str]) -> bool:
    """Whether any ``tdm-reservation`` header is 1, rights reserved; 0 and what is neither reserve nothing.

    Source: www.w3.org/community/reports/tdmrep/CG-FINAL-tdmrep-20240510/, HTTP headers.
    """
    return any(part.strip() == "1" for value in values for part in value.split(","))


def forbids_use(values: Iterable[str], user_agent: str) -> bool:
    """Whether any of the X-Robots-Tag headers opts the image out of a data set made by ``user_agent``.

    Syntax: developers.google.com/search/docs/crawling-indexing/robots-meta-tag; case does not matter, and the
    most restrictive of several directives holds. A crawler's name scopes what follows it in its header, up to
    the next name: ``googlebot: noindex`` is about Google's index and does not bind us, ``noindex``,
    ``*: noindex`` and ``clipsieve: noindex`` do. noai and noimageai count under any name, as they are about the
    use of the image and not about who fetched it (img2dataset passes them by unless they name it).
    """
    ours = {_ANY_CRAWLER, user_agent.lower()}
    return any(
        directive in NO_AI or (directive in NO_INDEX and crawler in ours)
        for value in values
        for crawler, directive in _directives(value)
    )


def _directives(value: str) -> Iterator[tuple[str, str]]:
    """The (crawler, directive) pairs of one header, in lower case; directives with a value are left out.

    What stands before a colon and can be no crawler's name scopes nothing; so a date's second half, after its
    comma (``unavailable_after: Wednesday, 25-Jun-30 15:00:00 GMT``), changes nothing for what follows.
    """
    crawler = _ANY_CRAWLER
    for part in value.lower().split(","):
        name, colon, rest = (text.strip() for text in part.partition(":"))
        if colon and _WITH_VALUE.fullmatch(name):
            continue
        scope = _CRAWLER.fullmatch(name) if colon else None
        if scope:
            crawler = scope[1]
        directive = rest if colon else name
        # As in "googlebot: max-snippet: 5", or the "unavailable_after: ..." that a name scopes.
        if ":" not in directive:
            yield crawler, directive
