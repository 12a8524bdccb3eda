"""What an image's EXIF block says: how to turn the picture, and the tags that are kept in a column.

Read by exifread, whose names of the tags img2dataset keeps, in bounded time: a block's directories may overlap and
point at each other.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import exifread
from PIL import Image

from clipsieve.pipelines.images.header import Header
from clipsieve.pipelines.images.metered import MeteredReader
from clipsieve.schemas import strict_json

_MAX_READS = 1 << 14  # ten times those of a camera's full block
_MAX_SIZE = 1 << 17

logging.getLogger("exifread").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Exif:
    """Orientation, 1 (as stored) to 8, and all tags as JSON: ``{}`` where there are none, None where unreadable."""

    orientation: int = 1
    tags: str | None = "{}"


def read_exif(header: Header) -> Exif:
    """The image's EXIF; one that cannot be read turns nothing and has no tags, as img2dataset has it."""
    block = _block(header)
    if not block:
        return Exif()
    # exifread raises whatever it trips over in a damaged block; the picture next to it may be sound.
    try:
        tags = exifread.process_file(MeteredReader(block, _MAX_READS, _MAX_SIZE), details=False)
    except Exception:
        return Exif(tags=None)
    said = getattr(tags.get("Image Orientation"), "values", None)
    is_known = isinstance(said, list) and len(said) == 1 and said[0] in range(1, 9)
    texts = {name: str(value).strip() for name, value in tags.items() if value is not None}
    return Exif(said[0] if said and is_known else 1, strict_json.dumps(texts))


def _block(header: Header) -> bytes:
    if not isinstance(header.source, Image.Image):
        return header.source.exif
    if header.format == "PNG":
        header.source.load()  # the chunk may come after the pixels
    return bytes(header.source.info.get("exif", b"")).removeprefix(b"Exif\0\0")
