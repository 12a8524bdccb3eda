"""Where the members of a tar lie, read from bytes in memory by their headers alone.

tarfile makes several objects of each member, which takes as long as tokenizing a caption. What is out of the ordinary
is left to it.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

MOST_NAME_BYTES = 100
SIZE, CHECKSUM, TYPE = slice(124, 136), slice(148, 156), 156
"""Fields of a header block (POSIX.1-1988 ustar)."""
_PREFIX = slice(345, 500)
_ADLER = 65_521
_TIMES = re.compile(rb"(?:[0-9]+ [acm]time=[0-9.]+\n)+")
"""A pax header that says nothing but when."""


class Place(NamedTuple):
    """Where a member lies among others."""

    start: int
    """Its first byte: of its pax header, where it has one."""
    header: int
    """Of its own header."""
    size: int
    """Bytes of its content, which begins a block after its header."""

    @property
    def content(self) -> slice:
        return slice(self.header + tarfile.BLOCKSIZE, self.header + tarfile.BLOCKSIZE + self.size)

    @property
    def end(self) -> int:
        """Behind its last block."""
        return self.header + tarfile.BLOCKSIZE + padded(self.size)


def padded(size: int) -> int:
    """Bytes that a content of so many takes, in whole blocks."""
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


class Member(NamedTuple):
    """A regular file in a tar, from ``start``, where its first header begins, to ``end``, after its last block."""

    name: str
    content: bytes
    start: int
    end: int


def places(members: memoryview) -> Iterator[Place]:
    """Where each member lies of whole members that follow one another.

    Its own header stands after the pax header that it may have: webdataset's writer, and so img2dataset's and
    DataComp's, puts fractions of a second there. Raises tarfile.HeaderError for a header that is cut or whose size is
    none.
    """
    start = at = 0
    while at < len(members):
        block = bytes(members[at : at + tarfile.BLOCKSIZE])
        if len(block) < tarfile.BLOCKSIZE:
            raise tarfile.HeaderError(f"a header of {len(block)} bytes")
        size = tarfile.nti(block[SIZE])  # type: ignore[attr-defined]
        if size < 0:
            raise tarfile.HeaderError(f"a size of {size}")
        place = Place(start, at, size)
        at = place.end
        if block[TYPE] != tarfile.XHDTYPE[0]:
            yield place
            start = at


def plain_members(data: bytes) -> list[Member] | None:
    """The members of ``data``, whole and plain ones alone: regular files, named and sized by their ustar headers.

    None where there is anything else, sound or not: tarfile knows what it is.
    """
    members = []
    try:
        for place in places(memoryview(data)):
            header = data[place.header : place.header + tarfile.BLOCKSIZE]
            if place.end > len(data) or not is_plain(header) or not says_times(data[place.start : place.header]):
                return None
            members.append(Member(name_in(header), data[place.content], place.start, place.end))
    except (tarfile.HeaderError, UnicodeDecodeError):
        return None
    return members


def name_in(header: bytes) -> str:
    """The name in a plain header block. Raises UnicodeDecodeError where it is not UTF-8."""
    return header[:MOST_NAME_BYTES].split(b"\0", 1)[0].decode()


def is_plain(header: bytes) -> bool:
    """Whether a header block is a sound one of a regular file whose name it holds whole."""
    return header[TYPE] == tarfile.REGTYPE[0] and not header[_PREFIX].strip(b"\0") and _is_sound(header)


def _is_sound(header: bytes) -> bool:
    stated = tarfile.nti(header[CHECKSUM])  # type: ignore[attr-defined]
    # The lower half of Adler-32 is 1 + the sum of the bytes, modulo 65,521; to add the bytes in Python takes 5 µs.
    blanked = header[: CHECKSUM.start] + b" " * 8 + header[CHECKSUM.stop :]
    return bool((1 + stated) % _ADLER == zlib.adler32(blanked) & 0xFFFF)


def says_times(pax: bytes) -> bool:
    """Whether a pax header, or the lack of one, changes nothing that matters here."""
    if not pax:
        return True
    header, content = pax[: tarfile.BLOCKSIZE], pax[tarfile.BLOCKSIZE :].rstrip(b"\0")
    return _is_sound(header) and _TIMES.fullmatch(content) is not None
