"""The samples of a tar by its members' headers alone: contents are skipped.

    header "a.jpg" | 30 kB … | header "a.txt" | 40 B | header "b.jpg" | …
    read             skipped   read             skipped  read

A header that is not a plain ustar one (long names in other formats, folders, links) leaves the tar to tarfile, which
reads headers alone too, and takes several times as long.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.naming import MemberNaming
from clipsieve.schemas.tar_members import SIZE, TYPE, is_plain, name_in, padded, says_times


@dataclass(frozen=True)
class FoundMember:
    """A regular file in a tar."""

    name: str
    start: int
    """Where its first header begins."""
    content: int
    """Where its content begins."""
    size: int
    """Bytes of its content."""

    @property
    def end(self) -> int:
        """Behind its last block."""
        return self.content + padded(self.size)


@dataclass(frozen=True)
class FoundSample:
    """Members that follow one another and share a key."""

    key: str
    start: int
    end: int
    parts: dict[str, FoundMember]
    """By what `MemberNaming.split` calls them; of several of one kind, the first."""


def scan_samples(path: str, naming: MemberNaming) -> Iterator[FoundSample]:
    """The samples of the tar at ``path``, in order. Raises InputError where it is truncated or damaged."""
    with files.open_read(path) as stream:
        size = stream.seek(0, os.SEEK_END)
        yield from _grouped(_checked(_members(stream, path), size, path), naming)


def _grouped(members: Iterable[FoundMember], naming: MemberNaming) -> Iterator[FoundSample]:
    key, start, end = "", 0, 0
    parts: dict[str, FoundMember] = {}
    for member in members:
        split = naming.split(member.name)
        if split is None:
            continue
        if split[0] != key:
            if parts:
                yield FoundSample(key, start, end, parts)
            key, start, parts = split[0], member.start, {}
        parts.setdefault(split[1], member)
        end = member.end
    if parts:
        yield FoundSample(key, start, end, parts)


def _checked(members: Iterable[FoundMember], size: int, path: str) -> Iterator[FoundMember]:
    for member in members:
        if member.content + member.size > size:
            raise InputError(f"{path}: truncated: member {member.name!r} ends behind its {size:,} bytes")
        yield member


def _members(stream: IO[bytes], path: str) -> Iterator[FoundMember]:
    start = at = 0
    while True:
        stream.seek(at)
        header = stream.read(tarfile.BLOCKSIZE)
        if len(header) == tarfile.BLOCKSIZE and not header.strip(b"\0"):
            return
        try:
            size, is_file = tarfile.nti(header[SIZE]), is_plain(header)  # type: ignore[attr-defined]
            if is_file:
                yield FoundMember(name_in(header), start, at + tarfile.BLOCKSIZE, size)
            elif header[TYPE] != tarfile.XHDTYPE[0] or not says_times(header + stream.read(padded(size))):
                break
        except (tarfile.HeaderError, UnicodeDecodeError, IndexError):
            break
        at += tarfile.BLOCKSIZE + padded(size)
        if is_file:
            start = at
    yield from (member for member in _by_tarfile(stream, path) if member.start >= start)


def _by_tarfile(stream: IO[bytes], path: str) -> Iterator[FoundMember]:
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if member.isreg():
                    yield FoundMember(member.name, member.offset, member.offset_data, member.size)
                tar.members = []  # type: ignore[attr-defined]  # else memory grows with the tar
            stream.seek(tar.offset)
            if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes a damaged header for the end
                raise tarfile.ReadError(f"no member header at byte {tar.offset}")
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{path}: not a readable tar ({error})") from error
