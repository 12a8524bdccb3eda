"""How the members of a tar are named: which sample one belongs to, and which part of it.

clipsieve's own shards are read by `split_plain`. Other tools name members otherwise, as webdataset allows:

    photos/Cat.v2.JPEG          sample photos/Cat.v2, its image
    photos/Cat.v2.caption.txt   of the same sample where captions are ``caption.txt``
    photos/Cat.v2.json          its json
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from clipsieve.schemas.errors import InputError

IMAGE_EXTENSIONS = ("jpg", "png", "webp")
_SPELLINGS = {**{extension: extension for extension in IMAGE_EXTENSIONS}, "jpeg": "jpg", "json": "json"}
_PLAIN = re.compile(r"([0-9a-z]+(?:-[0-9]+)*)\.([0-9a-z]+)")
_FIELD = "json:"


class MemberNaming(BaseModel):
    """How the tars of a pool that another tool wrote name their members, and where a sample's caption is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    captions: tuple[str, ...]
    """The extensions of members that hold a caption, or ``json:FIELD``; of a sample the first that it has counts."""

    def split(self, name: str) -> tuple[str, str] | None:
        """The sample's key, and the part that the member ``name`` is; None for a member that is no part of a sample.

        A part is ``jpg``, ``png``, ``webp``, ``json`` or a caption's extension.
        """
        known = self._known.fullmatch(name)
        return (known[1], self._parts[known[2].lower()]) if known else None

    def caption_member(self, parts: Collection[str]) -> str | None:
        """Which of the ``parts`` of a sample holds its caption: an extension, or ``json:FIELD``; None: it has none."""
        return next((name for name in self.captions if ("json" if name.startswith(_FIELD) else name) in parts), None)

    def caption_of(self, members: dict[str, bytes], where: str) -> str | None:
        """The caption of a sample with these members; None where it has none."""
        for name in self.captions:
            if name.startswith(_FIELD) and "json" in members:
                text = json_of(members["json"], where).get(name.removeprefix(_FIELD))
                if isinstance(text, str):
                    return text
            elif name in members:
                return members[name].decode("utf-8", "replace")
        return None

    @cached_property
    def _parts(self) -> dict[str, str]:
        """By what a name may end in, the part that this is."""
        return _SPELLINGS | {name.lower(): name for name in self.captions if not name.startswith(_FIELD)}

    @cached_property
    def _known(self) -> re.Pattern[str]:
        """A key, as short as may be, and what its name ends in."""
        return re.compile(rf"(.*?[^/])\.({'|'.join(map(re.escape, self._parts))})", re.IGNORECASE | re.DOTALL)


def split_plain(name: str) -> tuple[str, str] | None:
    """The key and extension of a member of clipsieve's own shards, ``KEY.EXTENSION``; None for any other name.

    A key is letters and digits; where a pair stands several times, ``-`` and its number follow, as DataComp's resharder
    has it.
    """
    match = _PLAIN.fullmatch(name)
    return (match[1], match[2]) if match else None


def json_of(data: bytes, where: str) -> dict[str, Any]:
    """The object in a json member. Raises InputError for anything else; ``where`` says whose it is."""
    try:
        content = json.loads(data)
        if not isinstance(content, dict):
            raise ValueError(f"a JSON {type(content).__name__}, not an object")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: its json cannot be read ({error})") from error
    return content
