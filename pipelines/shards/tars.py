"""Writing a tar whose bytes depend on its members' names and contents alone, and knowing where each lies."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from typing import IO

import xxhash

from clipsieve.schemas.tar_members import CHECKSUM, MOST_NAME_BYTES, SIZE, places

# tarfile's own header takes 20 µs a member, most of it for the ten fields that are the same in all of ours.
_HEADER = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
_MOST_BYTES = 8**11 - 1


class TarWriter:
    """Appends samples to a tar stream, and knows where each lies and the digest of all."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = xxhash.xxh3_128()
        self._offset = 0

    def write(self, key: str, members: Mapping[str, bytes]) -> tuple[int, int]:
        """Append a sample's members, by extension, in order. Returns its (offset, size) in bytes."""
        start = self._offset
        for extension, data in members.items():
            self._append(tar_member(f"{key}.{extension}", data))
        return start, self._offset - start

    def close(self) -> str:
        """End the tar; returns its hex XXH3."""
        self._append(end_of_archive(self._offset))
        return self._digest.hexdigest()

    def _append(self, data: bytes) -> None:
        self._stream.write(data)
        self._digest.update(data)
        self._offset += len(data)


def end_of_archive(size: int) -> bytes:
    """What ends a tar whose members take ``size`` bytes: two empty blocks, and padding to a whole record."""
    end = size + 2 * tarfile.BLOCKSIZE
    return bytes(2 * tarfile.BLOCKSIZE + -end % tarfile.RECORDSIZE)


def tar_member(name: str, data: bytes) -> bytes:
    """A member's header, content and padding (POSIX.1-1988 ustar): what tarfile makes of a name and a size.

    The name must be ASCII of at most 100 bytes, and the content below 8 GiB.
    """
    encoded = name.encode("ascii")
    if len(encoded) > MOST_NAME_BYTES or len(data) > _MOST_BYTES:
        raise ValueError(f"{name}: {len(data)} bytes do not fit into a ustar member")
    header = bytearray(_HEADER)
    header[: len(encoded)] = encoded
    header[SIZE] = b"%011o\0" % len(data)
    header[CHECKSUM] = b" " * 8
    header[CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def is_sample(data: memoryview, key: str) -> bool:
    """Whether ``data`` begins with a member of the sample ``key``."""
    try:
        at = next((place.header for place in places(data)), len(data))
    except tarfile.HeaderError:
        return False
    name = f"{key}.".encode()
    return data[at : at + len(name)] == name


def rename_members(sample: memoryview, key: str) -> None:
    """Give the members of a sample another key, in place; all else of their headers, and their contents, stay.

    ``sample`` holds whole members, ``NAME.EXTENSION``. Raises ValueError when a new name is too long.
    """
    for _, at, _ in places(sample):
        header = bytearray(sample[at : at + tarfile.BLOCKSIZE])
        old = bytes(header[:MOST_NAME_BYTES]).rstrip(b"\0")
        new = key.encode("ascii") + old[old.index(b".") :]
        if len(new) > MOST_NAME_BYTES:
            raise ValueError(f"{new.decode()}: the name does not fit into a ustar member")
        header[:MOST_NAME_BYTES] = new.ljust(MOST_NAME_BYTES, b"\0")
        header[CHECKSUM] = b" " * 8
        header[CHECKSUM] = b"%06o\0 " % sum(header)
        sample[at : at + tarfile.BLOCKSIZE] = header
