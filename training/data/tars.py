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
    folders = sorted({posixpath.dirname(tar) for tar in plan.tars})
    sizes = {path: size for listed in map_ahead(_sizes, folders) for path, size in listed.items()}
    lost = [tar for tar in plan.tars if tar not in sizes]
    if lost:
        raise InputError(
            f"{lost[0]}: this tar of the plan is missing, and {len(lost) - 1} others; restore the tars"
            if len(lost) > 1
            else f"{lost[0]}: this tar of the plan is missing; restore it"
        )
    return [
        f"{tar}: cut at byte {sizes[tar]:,}; its last sample ends at byte {end:,}"
        for tar, end in zip(plan.tars, plan.header.ends, strict=True)
        if sizes[tar] < end
    ]


def _sizes(folder: str) -> dict[str, int]:
    """The size of each file in a folder, by its path as `files.join` makes it; none where there is no such folder."""
    fs, inner = files.filesystem(folder)
    fs.invalidate_cache(inner)
    try:
        return {
            files.join(folder, files.name_of(entry["name"])): int(entry["size"] or 0)
            for entry in fs.ls(inner, detail=True)
        }
    except FileNotFoundError:
        return {}
