"""Numbers of pairs as the paper writes them: ``250``, ``10M``, ``3.4B``."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


def parse_size(text: str) -> int:
    """A number of pairs as the paper writes it: ``250``, ``10M``, ``3.4B``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMB]?)", text)
    size = Decimal(match[1]) * _UNITS[match[2]] if match else None
    if size is None or size != int(size):
        raise ValueError(f"{text!r} is not a whole number of pairs, as 250, 10M or 3.4B")
    return int(size)


def size_name(size: int) -> str:
    """The shortest exact name of a number of pairs, `parse_size`'s inverse: 10_000_000 is ``10M``, 1500 is ``1500``."""
    for unit, scale in (("B", 10**9), ("M", 10**6)):
        scaled = Decimal(size) / scale
        if scaled >= 1 and scaled == round(scaled, 1):
            return f"{scaled.normalize():f}{unit}"
    return str(size)
