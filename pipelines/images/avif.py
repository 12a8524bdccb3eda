"""What is done with an AVIF (ISO/IEC 23000-22) before Pillow, through libavif, reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from PIL import AvifImagePlugin

from clipsieve.pipelines.images.av1 import decoded_pixels

# The boxes that name an item (ISO/IEC 14496-12, 8.11.6), with 16 and 32 bits of its number.
_EXIF = re.compile(rb"(?s)(?<=infe\x02.{7})Exif|(?<=infe\x03.{9})Exif")
_MAX_BOXES = 1000
_MAX_ITEMS = 1000

# Images are decoded side by side, each on one thread.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def is_avif(body: bytes) -> bool:
    """Whether the file's brands name AVIF, as an image or as a sequence of them."""
    brands = body[8 : min(int.from_bytes(body[:4], "big"), 256)]
    return body[4:8] == b"ftyp" and any(brands[at : at + 4] in (b"avif", b"avis") for at in range(0, len(brands), 4))


def tamed(body: bytes) -> bytes:
    """The file as Pillow may read it: the still picture of a sequence, and EXIF under a name that nothing reads.

    Pillow would parse EXIF on opening, in memory without bound. How the picture is turned other boxes say, which Pillow
    hands over as EXIF.
    """
    body = _EXIF.sub(b"skip", body)
    return body if body[8:12] != b"avis" else b"avif".join((body[:8], body[12:]))


def coded_pixels(body: bytes) -> int:
    """The pixels that all pictures of a `tamed` file are decoded from: libavif scales them to the size that it says.

    Raises ValueError for a file whose pictures cannot be found.
    """
    meta = next((content for name, content in _boxes(memoryview(body)) if name == b"meta"), None)
    if meta is None:
        raise ValueError("AVIF without a still picture")
    parts = dict(_boxes(meta[4:]))
    kinds, inner = _kinds(parts.get(b"iinf", meta[:0])), parts.get(b"idat", meta[:0])
    left, pixels = 2 * len(body), 0
    for item, pieces in _places(parts.get(b"iloc", meta[:0]), memoryview(body), inner):
        left -= sum(map(len, pieces))
        if left < 0:
            raise ValueError("AVIF whose items overlap")
        if kinds.get(item) == b"av01":
            pixels += decoded_pixels(b"".join(pieces))
    return pixels


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(name, content) of each box, the first of each name alone."""
    at = 0
    seen: set[bytes] = set()
    for _ in range(_MAX_BOXES):
        if at + 8 > len(data):
            return
        size, name, start = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8]), at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        end = at + size if size else len(data)
        if end < start:
            raise ValueError("AVIF box smaller than its header")
        if name not in seen:
            yield name, data[start:end]
        seen.add(name)
        at = end
    raise ValueError("AVIF of more boxes than a picture has")


class _Fields:
    """Reads numbers one after the other; those past the end are 0."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> int:
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at], "big")


def _kinds(iinf: memoryview) -> Mapping[int, bytes]:
    """The type of each item by its number."""
    kinds: dict[int, bytes] = {}
    at = 8 if iinf[:1].tobytes() > b"\0" else 6
    for _ in range(_MAX_ITEMS):
        entry = iinf[at : at + int.from_bytes(iinf[at : at + 4], "big")]
        if len(entry) < 16:
            return kinds
        size = 2 if entry[8] == 2 else 4
        kinds[int.from_bytes(entry[12 : 12 + size], "big")] = bytes(entry[14 + size : 18 + size])
        at += len(entry)
    raise ValueError("AVIF of more items than a picture has")


def _places(iloc: memoryview, body: memoryview, inner: memoryview) -> Iterator[tuple[int, list[memoryview]]]:
    """The number of each item and the pieces of its data, which lie in the file or in its box ``idat``."""
    fields = _Fields(iloc)
    version, _, sizes, more = fields.take(1), fields.take(3), fields.take(1), fields.take(1)
    offset_size, length_size, base_size, index_size = sizes >> 4, sizes & 15, more >> 4, more & 15 if version else 0
    number_size = 4 if version == 2 else 2
    items = fields.take(number_size)
    if items > _MAX_ITEMS:
        raise ValueError("AVIF of more items than a picture has")
    for _ in range(items):
        item = fields.take(number_size)
        source = inner if version and fields.take(2) & 15 == 1 else body
        fields.take(2)
        base = fields.take(base_size)
        pieces: list[memoryview] = []
        count = fields.take(2)
        if count > _MAX_ITEMS:
            raise ValueError("AVIF item of more pieces than a picture has")
        for _ in range(count):
            fields.take(index_size)
            start, length = base + fields.take(offset_size), fields.take(length_size)
            pieces.append(source[start : start + length] if length else source[start:])
        yield item, pieces
