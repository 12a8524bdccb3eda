"""The samples of a data set's tar files, their members named as webdataset's readers take them.

val/ILSVRC2012_val_00000001.JPEG    the sample val/ILSVRC2012_val_00000001, its image
val/ILSVRC2012_val_00000001.cls     its label
s0000000.image.png                  the sample s0000000, its image
s0000000.cls.txt                    its label
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from clipsieve.schemas.samples import iter_members

IMAGE = "image"
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")
_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
"""A key, up to the first dot of the file's name, and the extension."""


@dataclass(frozen=True)
class TarSample:
    """One sample: its key and its members' bytes, by what they are: `IMAGE`, ``cls``, ``txt`` and so on."""

    key: str
    members: dict[str, bytes]


def iter_tar_samples(path: str) -> Iterator[TarSample]:
    """Stream the samples of a tar: each a run of members of one key, in which no extension comes twice.

    Hidden files are in none. Raises InputError for a tar that is damaged, or holds what is no regular file.
    """
    key, members = "", dict[str, bytes]()
    for member in iter_members(path):
        match = _NAME.fullmatch(member.name)
        if match is None:
            continue
        own, extension = match[1].removeprefix("./"), match[2].lower()
        if own != key or extension in members:
            if members:
                yield TarSample(key, _parts(members))
            key, members = own, {}
        members[extension] = member.content
    if members:
        yield TarSample(key, _parts(members))


def _parts(members: dict[str, bytes]) -> dict[str, bytes]:
    """Members by what they are: of several images the one of the plainest extension, the first as listed above."""
    parts: dict[str, bytes] = {}
    for extension in sorted(members, key=lambda extension: (extension.count("."), _rank(extension))):
        parts.setdefault(_part(extension), members[extension])
    return parts


def _rank(extension: str) -> int:
    return IMAGE_EXTENSIONS.index(extension) if extension in IMAGE_EXTENSIONS else 0


def _part(extension: str) -> str:
    ends = extension.split(".")
    if ends[-1] in IMAGE_EXTENSIONS:
        return IMAGE
    return "cls" if "cls" in ends else ends[-1]
