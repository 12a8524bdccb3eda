"""How a row ends whose bytes have come, from a server or from a disk: verified against its hash, and made an image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clipsieve.pipelines.download.input import Pair
from clipsieve.pipelines.images.process import ImageFailure, process_image
from clipsieve.pipelines.shards.writer import RowOutcome
from clipsieve.schemas.options import ImageOptions
from clipsieve.schemas.outcomes import Consent, ErrorClass, Status

_DIGITS_SHOWN = 12
_IMAGE_COLUMNS = ("width", "height", "original_width", "original_height", "exif", "phash")


@dataclass(frozen=True)
class Body:
    """The bytes that came for a row."""

    data: bytes
    content: bytes
    """What they hold: without its Content-Encoding, where a server packed it."""
    coding: str | None = None
    """That Content-Encoding."""

    def columns(self, wanted: str | None) -> dict[str, Any]:
        """The hash and size of what came; of what it holds, where that alone has the hash ``wanted``."""
        digest = _sha256(self.data)
        if wanted not in (None, digest) and self.content is not self.data and wanted == _sha256(self.content):
            return {"sha256": wanted, "byte_size": len(self.content)}
        return {"sha256": digest, "byte_size": len(self.data)}


def outcome_of_body(
    body: Body,
    pair: Pair,
    options: ImageOptions,
    ended: Callable[[ErrorClass | None, str | None], dict[str, Any]],
) -> RowOutcome:
    """Make the image of ``body``; ``ended`` gives the columns that tell how its row came by it and ended."""
    known = body.columns(pair.sha256)
    digest = known["sha256"]
    if pair.sha256 not in (None, digest):
        message = f"sha256 is {digest[:_DIGITS_SHOWN]}…, the input says {pair.sha256[:_DIGITS_SHOWN]}…"
        return RowOutcome(ended(ErrorClass.HASH_MISMATCH, message) | known)
    made = process_image(body.content, options, pair.boxes)
    if isinstance(made, ImageFailure):
        packing = f", in Content-Encoding {body.coding}" if body.coding else ""
        return RowOutcome(ended(made.error_class, made.message + packing) | known)
    of_image = {name: getattr(made, name) for name in _IMAGE_COLUMNS}
    return RowOutcome(ended(None, None) | known | of_image, made.image)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def end_columns(error_class: ErrorClass | None, message: str | None) -> dict[str, Any]:
    """The columns that say whether and why a row failed; without a class it did not."""
    return {
        "status": (error_class.status if error_class else Status.SUCCESS).value,
        "error_message": message,
        "error_class": error_class.value if error_class else None,
    }


def opted_out_columns() -> dict[str, Any]:
    """The columns that say that the opt-out list forbids the row."""
    ended = end_columns(ErrorClass.OPTED_OUT, "the opt-out list names its uid, URL or domain")
    return ended | {"consent": Consent.OPT_OUT_LIST.value}
