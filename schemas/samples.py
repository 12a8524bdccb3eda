"""Shards as every package reads them: plain tar files in img2dataset's layout, their Parquet next to them.

A sample is the run of members that share a stem: ``000000012.jpg``, ``000000012.txt``, ``000000012.json``.
Tar members are hostile: only regular files whose names are ``KEY.EXTENSION`` are read, nothing is extracted. Of a pool
that another tool wrote, and `clipsieve index` read, a `MemberNaming` says how members are named.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.naming import IMAGE_EXTENSIONS, MemberNaming, split_plain
from clipsieve.schemas.ranges import ByteRanges, Range, RangeReader
from clipsieve.schemas.streams import batched
from clipsieve.schemas.tar_members import Member, plain_members

SAMPLES_A_READ = 64
"""Requested of an object store at once by one thread."""


@dataclass(frozen=True)
class Sample:
    """One sample of a shard: its key, its members' bytes by extension, and where it lies in the tar."""

    key: str
    members: dict[str, bytes]
    offset: int
    size: int

    @property
    def image(self) -> bytes:
        for extension in IMAGE_EXTENSIONS:
            if extension in self.members:
                return self.members[extension]
        raise InputError(f"sample {self.key}: no image member ({', '.join(IMAGE_EXTENSIONS)})")

    @property
    def caption(self) -> str:
        return self.members["txt"].decode("utf-8", "replace") if "txt" in self.members else ""

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(json.loads(self.members["json"])) if "json" in self.members else {}


def iter_samples(path: str) -> Iterator[Sample]:
    """Stream a tar's samples in order; a truncated or damaged tar is an InputError that names it."""
    with files.open_read(path) as stream:
        yield from _samples_of(_members_of(stream, path), path)


def iter_members(path: str) -> Iterator[Member]:
    """Stream a tar's regular files in order, however they are named; a damaged tar is an InputError that names it."""
    with files.open_read(path) as stream:
        yield from _members_of(stream, path)


def parse_samples(data: bytes, path: str) -> list[Sample]:
    """The samples within a byte range cut from a tar at member borders (offsets count from the range's start)."""
    return list(_samples_of(_members_in(data, path), path))


def read_samples(places: Sequence[Range], reader: ByteRanges, naming: MemberNaming | None = None) -> list[Sample]:
    """The sample at each place, a byte range of a tar, all in one filesystem; their offsets are 0.

    A sample whose members are named as ``naming`` says comes as one of clipsieve's own shards: its image as ``jpg``,
    ``png`` or ``webp``, its caption as ``txt``. Raises InputError where a tar is missing, or a range is not that of one
    sample.
    """
    return [_only_sample(data, *place, naming) for place, data in zip(places, reader.read(places), strict=True)]


def stream_samples(places: Iterable[Range], naming: MemberNaming | None = None) -> Iterator[Sample]:
    """`read_samples`, `SAMPLES_A_READ` at a time."""
    reader = RangeReader()
    for part in batched(places, SAMPLES_A_READ):
        yield from read_samples(part, reader, naming)


def _only_sample(data: bytes, tar: str, start: int, size: int, naming: MemberNaming | None) -> Sample:
    if len(data) < size:
        raise InputError(f"{tar}: ends at byte {start + len(data)}, within a sample of its table; it is truncated")
    if naming is not None:
        return _renamed_sample(list(_members_in(data, tar)), tar, start, naming)
    samples = parse_samples(data, tar)
    if len(samples) != 1:
        raise InputError(f"{tar}: {len(samples)} samples, not 1, at byte {start}; verify the shards")
    return samples[0]


def _renamed_sample(members: Sequence[Member], tar: str, start: int, naming: MemberNaming) -> Sample:
    split = [(*part, member.content) for member in members if (part := naming.split(member.name))]
    keys = {key for key, _, _ in split}
    if len(keys) != 1:
        raise InputError(f"{tar}: {len(keys)} samples, not 1, at byte {start}; index the shards again")
    (key,) = keys
    found = {part: content for _, part, content in reversed(split)}
    caption = naming.caption_of(found, f"{tar}: sample {key}")
    parts = {name: found[name] for name in (*IMAGE_EXTENSIONS, "json") if name in found}
    return Sample(key, parts | ({} if caption is None else {"txt": caption.encode()}), 0, members[-1].end)


def _members_in(data: bytes, path: str) -> Iterable[Member]:
    members = plain_members(data)
    return _members_of(io.BytesIO(data), path) if members is None else members


def _samples_of(members: Iterable[Member], path: str) -> Iterator[Sample]:
    key, start, end = "", 0, 0
    contents: dict[str, bytes] = {}
    for member in members:
        split = split_plain(member.name)
        if split is None:
            raise InputError(f"{path}: member {member.name!r} is not a plain KEY.EXTENSION file")
        stem, extension = split
        if stem != key:
            if contents:
                yield Sample(key, contents, start, end - start)
            key, contents, start = stem, {}, member.start
        elif extension in contents:
            raise InputError(f"{path}: member {member.name!r} is duplicated in a sample")
        contents[extension] = member.content
        end = member.end
    if contents:
        yield Sample(key, contents, start, end - start)


def _members_of(stream: IO[bytes], path: str) -> Iterator[Member]:
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if not member.isreg():
                    raise InputError(f"{path}: member {member.name!r} is not a regular file")
                content = tar.extractfile(member)
                data = content.read() if content is not None else b""
                if len(data) != member.size:
                    raise tarfile.ReadError("unexpected end of data")
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                yield Member(member.name, data, member.offset, end)
                # tarfile keeps every header it met: memory would grow with the shard.
                tar.members = []  # type: ignore[attr-defined]
            stream.seek(tar.offset)
            if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes a damaged header for the end
                raise tarfile.ReadError(f"no member header at byte {tar.offset}")
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{path}: not a readable tar ({error})") from error
