"""What the checks of all folders share: their result, how a discrepancy is raised, and a folder's digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipsieve.pipelines.engine.parts import folder_digest, part_of, read_parts
from clipsieve.schemas import files
from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.manifest import Manifest, read_manifest
from clipsieve.schemas.members import as_raw
from clipsieve.schemas.uid import uid_strings


@dataclass(frozen=True)
class Check:
    """One thing that was found to hold."""

    what: str
    """The folder that was looked at."""
    detail: str
    """What holds there, with its numbers."""


def expect(holds: bool | np.bool_, message: str) -> None:
    """Raise ClipsieveError with ``message``, which names folder, file and row, unless ``holds``."""
    if not holds:
        raise ClipsieveError(message)


def finished_manifest(folder: str) -> Manifest:
    """The manifest of a folder whose stage ran to its end."""
    found = read_manifest(folder)
    if found is None:
        raise ClipsieveError(
            f"{folder}: holds no manifest.json, so nothing says what it was made from; another tool's shards must be "
            "indexed first (`clipsieve adopt`)"
        )
    expect(found.complete, f"{folder}: {found.unfinished}")
    return found


def expect_parts(folder: str, found: Manifest) -> None:
    """Every file listed in `_parts.json` has its digest still, and together they have the manifest's."""
    listed = read_parts(folder)
    for part in listed:
        path = files.join(folder, part.name)
        expect(part_of(path) == part, f"{path}: its content is not what it was when {found.stage} wrote it")
    expect(
        folder_digest(listed) == found.digest,
        f"{folder}: _parts.json is not the list its manifest was made from",
    )


def expect_equal(found: Sequence[Any], expected: Sequence[Any], where: str, what: str) -> None:
    """Two columns are equal; else the first row, counted from 1, in which they differ is named."""
    if found != expected:
        pairs = zip(found, expected, strict=False)
        row = next((row for row, (a, b) in enumerate(pairs) if a != b), min(len(found), len(expected)))
        a, b = (column[row] if row < len(column) else "no row" for column in (found, expected))
        raise ClipsieveError(f"{where}: row {row + 1}: {what} is {a}, not {b}")


def expect_same_members(found: np.ndarray, expected: np.ndarray, where: str) -> None:
    """Two sorted arrays of uids, bytes[N] of 16, are equal; else the first uid that one lacks is named."""
    for wrong, what in ((found, "should not be in it"), (expected, "is missing from it")):
        odd = np.setdiff1d(wrong, expected if wrong is found else found)
        if len(odd):
            raise ClipsieveError(f"{where}: uid {uid_strings(as_raw(odd[:1]))[0]} {what} ({len(odd)} such uids)")
    expect(
        len(found) == len(expected),
        f"{where}: holds {len(found)} uids, not {len(expected)}: some are duplicated",
    )
