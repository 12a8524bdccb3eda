"""X-Robots-Tag: whether an image's owner forbids indexing it or training on it."""

from __future__ import annotations

from collections.abc import Iterable

OPT_OUTS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})

# Directives with a value of their own: what follows their colon is no directive (max-image-preview:none).
_WITH_VALUE = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})


def opts_out(headers: Iterable[str]) -> bool:
    """Whether any of the X-Robots-Tag headers says noai, noimageai, noindex, noimageindex or none.

    A directive may stand behind a crawler's name (``googlebot: noindex``); it counts whoever is named, for
    the owner's wish is clear. Syntax: developers.google.com/search/docs/crawling-indexing/robots-meta-tag.
    """
    return any(_directive(part) in OPT_OUTS for header in headers for part in header.split(","))


def _directive(part: str) -> str:
    name, colon, value = (text.strip().lower() for text in part.partition(":"))
    return value if colon and name not in _WITH_VALUE else name
