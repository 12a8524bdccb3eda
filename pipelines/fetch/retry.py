"""When a failed URL is requested again: pure functions. `clipsieve.schemas.outcomes.is_retryable` says whether."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

_BACKOFF_SECONDS = 0.5


def backoff_seconds(seed: str, attempt: int) -> float:
    """The wait after a failed attempt, counted from 1: doubling, times a jitter in [0.5, 1.5) that the seed decides."""
    digest = hashlib.sha256(f"{seed} {attempt}".encode()).digest()
    jitter = 0.5 + int.from_bytes(digest[:8], "big") / 2**64
    return _BACKOFF_SECONDS * 2.0 ** (attempt - 1) * jitter


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """The wait that a Retry-After header asks for at ``now``: seconds or a date (RFC 9110, section 10.2.3).

    None where it says nothing that can be read; a date that has passed is 0.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or timezone.utc) - now).total_seconds())
