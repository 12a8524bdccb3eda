"""Tars that another tool wrote: clipsieve does not write to them, so a takedown of what they hold is refused."""

from __future__ import annotations

from functools import partial

from clipsieve.pipelines.shards.rows import read_rows
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import read_manifest
from clipsieve.schemas.opt_out import OptOut
from clipsieve.schemas.run import Run
from clipsieve.schemas.shards import is_index, list_shards, tar_of
from clipsieve.schemas.stages import Holds, output_names
from clipsieve.schemas.threads import map_ahead

_MOST_NAMED = 3


def refuse_foreign(run: Run, listed: OptOut) -> None:
    """Raise InputError, naming the tars, where a pair that ``listed`` names lies in one that clipsieve did not write.

    Such tars are those of an index, and those in a folder of shards that has no manifest.
    """
    folders = [made.path for made in run.holding(Holds.SHARDS) if is_index(made.path)]
    folders += [path for path in _without_manifest(run) if files.list_files(path, ".tar")]
    held: dict[str, int] = {}
    for folder in folders:
        names = list_shards(folder)
        for name, pairs in zip(names, map_ahead(partial(_listed_in, folder, listed), names), strict=True):
            if pairs:
                held[tar_of(folder, name)] = pairs
    if held:
        tars = ", ".join(f"{tar} ({pairs})" for tar, pairs in list(held.items())[:_MOST_NAMED])
        more = f" and {len(held) - _MOST_NAMED} more" if len(held) > _MOST_NAMED else ""
        raise InputError(
            f"{run.path}: {sum(held.values())} listed pairs lie in tars that another tool wrote and that would keep "
            f"them: {tars}{more}; remove them there and index again, or make a run of a copy without them "
            "(`clipsieve reshard --opt-out`)"
        )


def _without_manifest(run: Run) -> list[str]:
    named = [files.join(run.path, name) for name in output_names()]
    return [path for path in named if files.exists(path) and read_manifest(path) is None]


def _listed_in(folder: str, listed: OptOut, name: str) -> int:
    rows = read_rows(folder, name)
    return int(listed.forbids_rows(rows, files.join(folder, f"{name}.parquet")).sum())
