"""The tars of a plan against what lies there: before the first step, so that no run trains on less than it says."""

from __future__ import annotations

import posixpath

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.threads import map_ahead
from clipsieve.training.data.plan_file import SamplePlan


def cut_tars(plan: SamplePlan) -> list[str]:
    """What to say of tars that end before the last of their samples does, a line each.

    The samples that are left of them can be trained on; the others are bad ones. Raises InputError where tars are
    missing, with their number. Folders are listed, whatever is in them, for that takes an object store one request a
    thousand files.
    """
    places = [posixpath.split(tar) for tar in plan.tars]
    folders = sorted({folder for folder, _ in places})
    sizes = dict(zip(folders, map_ahead(_sizes, folders), strict=True))
    found = [sizes[folder].get(name) for folder, name in places]
    lost = [tar for tar, size in zip(plan.tars, found, strict=True) if size is None]
    if lost:
        raise InputError(
            f"{lost[0]}: this tar of the plan is missing, and {len(lost) - 1} others; restore the tars"
            if len(lost) > 1
            else f"{lost[0]}: this tar of the plan is missing; restore it"
        )
    return [
        f"{tar}: cut at byte {size:,}; its last sample ends at byte {end:,}"
        for tar, size, end in zip(plan.tars, found, plan.header.ends, strict=True)
        if size is not None and size < end
    ]


def _sizes(folder: str) -> dict[str, int]:
    """The size of each file in a folder, by its name; nothing where there is no such folder."""
    fs, inner = files.filesystem(folder)
    fs.invalidate_cache(inner)
    try:
        return {files.name_of(entry["name"]): int(entry["size"] or 0) for entry in fs.ls(inner, detail=True)}
    except FileNotFoundError:
        return {}
