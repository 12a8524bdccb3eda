"""A PNG without the chunks that make no pixels: none of these is a reason to lose a picture, or to inflate anything.

Of ancillary chunks (PNG, third edition, 5.4) those are left that a decoder of pixels needs, tRNS and eXIf, where they
are sound; the profile of iCCP is handed over apart. Critical chunks stay as they are, for the decoder to judge.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from clipsieve.pipelines.images.icc import MAX_PROFILE

_MAX_CHUNKS = 100_000
_SIGNATURE = 8
_AROUND = 12  # a chunk's length, name and CRC
_GREY, _COLOUR, _PALETTE = 0, 2, 3
_SIZES = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9}


@dataclass(frozen=True)
class PngParts:
    """What a PNG's pixels are made from."""

    body: bytes
    """A PNG of the critical chunks, tRNS and eXIf; the file itself where it holds no other."""
    profile: bytes
    """The ICC profile; empty where there is none, or none that can be read within `MAX_PROFILE`."""


@dataclass(frozen=True)
class Chunk:
    """A chunk of a PNG, by its places in the file."""

    name: bytes
    start: int
    """Of its length, four bytes before its name."""
    end: int
    """After its CRC; past the end of the file where that is cut off."""

    @property
    def is_ancillary(self) -> bool:
        return self.name.isalpha() and self.name[:1].islower()

    def content(self, body: bytes) -> memoryview:
        return memoryview(body)[self.start + 8 : self.end - 4]

    def is_sound(self, body: bytes) -> bool:
        """Whether it is whole, its CRC is right, and so is its size if its name says that."""
        crc = zlib.crc32(memoryview(body)[self.start + 4 : self.end - 4])
        size = self.end - self.start - _AROUND
        stored = int.from_bytes(body[self.end - 4 : self.end], "big")
        return self.end <= len(body) and crc == stored and _SIZES.get(self.name, size) == size


def chunks(body: bytes) -> Iterator[Chunk]:
    """The chunks up to IEND or the end of the file. Raises ValueError where there are more than 100,000."""
    start = _SIGNATURE
    for _ in range(_MAX_CHUNKS):
        name, size = body[start + 4 : start + 8], int.from_bytes(body[start : start + 4], "big")
        if len(name) < 4:
            return
        yield Chunk(name, start, start + _AROUND + size)
        start += _AROUND + size
        if name == b"IEND":
            return
    raise ValueError("PNG of more chunks than an honest file has")


def read_png(body: bytes) -> PngParts:
    """Leave out of a PNG what makes no pixels. What is no PNG beyond its signature comes back as it is."""
    view = memoryview(body)
    pieces: list[bytes | memoryview] = []
    start, colours, profile = 0, 0, b""
    seen: set[bytes] = set()
    for chunk in chunks(body):
        is_first = chunk.name not in seen
        seen.add(chunk.name)
        if chunk.name == b"PLTE":
            colours = (chunk.end - chunk.start - _AROUND) // 3
        if not chunk.is_ancillary:
            continue
        is_usable = is_first and chunk.is_sound(body)
        if chunk.name == b"eXIf" and is_usable:
            continue
        pieces.append(view[start : chunk.start])
        start = min(chunk.end, len(body))
        if chunk.name == b"tRNS" and is_usable and b"IDAT" not in seen:
            pieces.append(_transparency(body, chunk, colours))
        if chunk.name == b"iCCP" and is_usable and b"IDAT" not in seen:
            profile = _profile(chunk.content(body))
    return PngParts(b"".join([*pieces, view[start:]]) if pieces else body, profile)


def _transparency(body: bytes, chunk: Chunk, colours: int) -> bytes:
    """The tRNS chunk in the depth in which Pillow has the pixels; nothing where its content is not of its image.

    Pillow scales the samples of greys to eight bits and cuts those of colours to eight, but not tRNS.
    """
    depth, kind = body[24:26]
    content = bytes(chunk.content(body))
    most = (1 << depth) - 1  # further bits are to be masked
    values = [int.from_bytes(content[at : at + 2], "big") & most for at in range(0, len(content), 2)]
    if kind == _PALETTE and 0 < len(content) <= colours:
        return _chunk(b"tRNS", content)
    if kind == _GREY and len(content) == 2:
        return _chunk(b"tRNS", (values[0] * max(1, 255 // most)).to_bytes(2, "big"))
    if kind == _COLOUR and len(content) == 6:
        return _chunk(b"tRNS", b"".join((value >> max(0, depth - 8)).to_bytes(2, "big") for value in values))
    return b""


def _chunk(name: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


def _profile(content: memoryview) -> bytes:
    """The profile in an iCCP chunk: a name, how it is compressed (0), and that."""
    name, _, rest = bytes(content).partition(b"\0")
    if not name or rest[:1] != b"\0":
        return b""
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if inflate.eof else b""
