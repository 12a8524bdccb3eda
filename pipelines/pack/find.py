"""The pictures below a folder, each with the caption that lies next to it.

photos/cats/Tom.JPG           a picture: cats/Tom.JPG
photos/cats/Tom.txt           its caption; Tom.JPG.txt would be one too
photos/cats/Tom.json          its caption, where no Tom.txt is and the json has the field
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import pyarrow as pa

from clipsieve.pipelines.pack.paths import PathError, Root, read_file
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.naming import MemberNaming
from clipsieve.schemas.streams import batched
from clipsieve.schemas.terminal import say
from clipsieve.schemas.threads import map_ahead

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif", ".heic", ".tif", ".tiff")
"""Of files that are taken for pictures, those that cannot be decoded among them: their rows say so."""

_SCHEMA = pa.schema([("url", pa.string()), ("caption", pa.string())])
_BATCH_ROWS = 1_024
_MAX_CAPTION_BYTES = 1 << 20


@dataclass(frozen=True)
class _Picture:
    path: str
    """Below the root."""
    sidecars: dict[str, str]
    """By what `MemberNaming.split` calls them, the paths of the files next to it that may hold its caption."""


def iter_pictures(folder: str, root: Root, captions: Sequence[str]) -> Iterator[pa.Table]:
    """The pictures below ``folder``, in tables of url, which is the path below ``root``, and caption, "" for none.

    They come folder by folder, by name; hidden files and folders are left out, and links to folders not entered, which
    is said on stderr. A caption that may not be read is none. Raises InputError for a folder that cannot be read and
    for a json that is none.
    """
    naming = MemberNaming(captions=tuple(captions))
    found = map_ahead(partial(_row, root, naming), _walk(folder, root, naming))
    for rows in batched(found, _BATCH_ROWS):
        yield pa.Table.from_pylist(rows, _SCHEMA)


def _walk(folder: str, root: Root, naming: MemberNaming) -> Iterator[_Picture]:
    linked: list[str] = []
    for place, folders, names in os.walk(os.path.realpath(folder), onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        linked += [path for name in folders if Path(path := files.join(place, name)).is_symlink()]
        below = os.path.relpath(place, root.real)
        yield from _pictures(sorted(names), "" if below == "." else f"{below}/", naming)
    if linked:
        say(f"{folder}: {len(linked)} links to folders were not entered, the first {linked[0]!r}", is_error=True)


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _pictures(names: Sequence[str], below: str, naming: MemberNaming) -> Iterator[_Picture]:
    """The pictures among the files of a folder, whose path is ``below``."""
    wanted = {"json" if caption.startswith("json:") else caption for caption in naming.captions}
    sidecars: dict[str, dict[str, str]] = {}
    for name in names:
        split = naming.split(name)
        if split and split[1] in wanted:
            sidecars.setdefault(split[0], {}).setdefault(split[1], below + name)
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() in EXTENSIONS and not name.startswith("."):
            yield _Picture(below + name, sidecars.get(path.stem, {}) | sidecars.get(name, {}))


def _row(root: Root, naming: MemberNaming, picture: _Picture) -> dict[str, str]:
    members: dict[str, bytes] = {}
    for part, path in picture.sidecars.items():
        try:
            members[part] = read_file(root.real, path, _MAX_CAPTION_BYTES)
        except PathError:
            continue
    path = os.fsencode(picture.path).decode("utf-8", "replace")
    caption = naming.caption_of(members, files.join(root.given, path)) or ""
    unicode = caption.encode("utf-8", "replace").decode()  # JSON can spell half a surrogate pair
    return {"url": path, "caption": unicode.removeprefix("\ufeff").strip()}
