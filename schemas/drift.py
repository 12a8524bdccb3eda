"""What a downloaded image is next to the one that the pool's publisher saw."""

from __future__ import annotations

from enum import Enum


class Verdict(str, Enum):
    """The `drift` column."""

    SAME = "same"  # the published bytes; where none are published, the published size and nothing that says otherwise
    REENCODED = "reencoded"  # other bytes of the published size, where one is published
    RESIZED = "resized"  # another size of the published shape
    SWAPPED = "swapped"  # another picture: of another shape, similarity or embedding
    PLACEHOLDER = "placeholder"  # one image under many URLs, most of which showed another
    EXPIRED = "expired"  # of a host nearly all of whose images are others now
    UNKNOWN = "unknown"  # not in the published table, or nothing there to compare with


GONE = (Verdict.SWAPPED, Verdict.PLACEHOLDER, Verdict.EXPIRED)
"""What the publisher did not see."""
