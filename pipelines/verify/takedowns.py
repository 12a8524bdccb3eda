"""Takedowns: none is half done, and of what was taken down the shards keep a uid and no more."""

from __future__ import annotations

import pyarrow.compute as pc

from clipsieve.pipelines.takedown.plan import read_plan
from clipsieve.pipelines.takedown.shards import TAKEN_DOWN
from clipsieve.pipelines.verify.checks import Check, expect
from clipsieve.schemas import files, tables
from clipsieve.schemas.run import Run
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.stages import STAGES

_NAME = "takedowns"


def check_takedowns(run: Run) -> Check:
    """The takedowns that the run's manifests record have ended, and left nothing behind in the shards' rows."""
    expect(read_plan(run.path) is None, f"{run.path}: a takedown is half done there; run it again, with the same list")
    recorded = {record.begun_at: record.opt_out for made in run.made for record in made.manifest.takedowns}
    if not recorded:
        return Check(_NAME, "none recorded")
    folder, blanked = STAGES["download"].folder(run.path), 0
    for name in list_shards(folder) if files.exists(folder) else ():
        path = files.join(folder, f"{name}.parquet")
        rows = tables.read_table(path, tables.SHARDS)
        rows = rows.filter(pc.fill_null(pc.equal(rows["error_message"], TAKEN_DOWN), False))
        left = [column for column in ("caption", "url", "sha256", "tar_offset") if rows[column].null_count < len(rows)]
        expect(not left, f"{path}: rows that were taken down have a {', '.join(left)}")
        blanked += len(rows)
    lists = ", ".join(f"{digest[:12]} at {begun}" for begun, digest in sorted(recorded.items()))
    return Check(_NAME, f"list {lists}; {blanked:,} rows of the shards are a uid and no more")
