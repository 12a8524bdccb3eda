"""Whether a file holds a picture and nothing else, so that it may be stored as it was served.

Each format has a list of the parts that a decoder needs; a file with any other part, or with bytes after its end,
is written anew.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from clipsieve.pipelines.images import jpeg, png
from clipsieve.pipelines.images.header import Header

_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
_MODES = ("1", "L", "P", "RGB")

# JFIF and Adobe's colour transform, with the lengths that leave no room for a thumbnail or text.
_JPEG_HEADERS = {(jpeg.APP0, 14, b"JFIF\0"), (jpeg.APP14, 12, b"Adobe")}
_JPEG_TABLES = {jpeg.DHT, jpeg.DQT, jpeg.DRI}
_JPEG_SCANS = {*_JPEG_TABLES, *jpeg.RESTARTS, jpeg.SOS, jpeg.EOI, 0}  # 0 follows a 0xFF that is data
_PNG_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"pHYs", b"bKGD", b"hIST"}
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # its content would be bytes that no decoder shows
_WEBP_CHUNKS = {b"VP8 ", b"VP8L"}


def is_bare(header: Header, body: bytes, encode_format: str) -> bool:
    """Whether ``body`` is in ``encode_format`` with eight bits a channel, opaque, and without metadata."""
    if header.format != _FORMATS[encode_format]:
        return False
    if isinstance(header.source, Image.Image) and header.source.mode not in _MODES:
        return False
    return {"jpg": _is_bare_jpeg, "png": _is_bare_png, "webp": _is_bare_webp}[encode_format](body)


def _is_bare_jpeg(body: bytes) -> bool:
    last = 2
    for marker, start, end in jpeg.segments(body):
        is_needed = marker in _JPEG_TABLES or marker in jpeg.FRAMES or marker == jpeg.SOS
        is_next = start == last + 4  # a marker and its length lie between, and nothing else
        if not is_next or not (is_needed or (marker, end - start, body[start : start + 5]) in _JPEG_HEADERS):
            return False
        last = end
    scans = np.frombuffer(body, np.uint8)[last:]
    markers = scans[1:][scans[:-1] == 0xFF].tolist()
    return _JPEG_SCANS.issuperset(markers) and markers.count(jpeg.EOI) == 1 and body.endswith(b"\xff\xd9")


def _is_bare_png(body: bytes) -> bool:
    end = 0
    for chunk in png.chunks(body):
        if chunk.name not in _PNG_CHUNKS or (chunk.is_ancillary and not chunk.is_sound(body)):
            return False
        end = chunk.end
    bit_depth = body[24]
    return bit_depth <= 8 and body.endswith(_PNG_END) and end == len(body)


def _is_bare_webp(body: bytes) -> bool:
    length = int.from_bytes(body[16:20], "little")
    return body[12:16] in _WEBP_CHUNKS and 20 + length + length % 2 == len(body)
