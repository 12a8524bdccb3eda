"""TDMRep, the W3C community group's protocol by which a site reserves the right of text and data mining.

Heeded is the header ``tdm-reservation``, which comes with the image itself. ``tdm-policy`` only says where a
licence may be had. ``/.well-known/tdmrep.json`` is not asked for: it would cost one more request for every
origin, most of which hold a few images of a pool, and what it says of paths a site can say in robots.txt.
"""

from __future__ import annotations

from collections.abc import Iterable

TDM_HEADER = "tdm-reservation"


def reserves(values: Iterable[str]) -> bool:
    """Whether any ``tdm-reservation`` header is 1, rights reserved; 0 and what is neither reserve nothing.

    Source: www.w3.org/community/reports/tdmrep/CG-FINAL-tdmrep-20240510/, HTTP headers.
    """
    return any(part.strip() == "1" for value in values for part in value.split(","))
