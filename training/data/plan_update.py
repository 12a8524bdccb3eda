"""A plan brought up to shards of which pairs were taken down, and to a longer opt-out list, while its run was stopped.

Each sample keeps its row, so that the stream of the run stays what it was; the rows of those that are gone have no
blocks, and other samples take their places (`SampleOrder.replacement`).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from clipsieve.schemas import files
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.threads import cores, map_ahead
from clipsieve.training.data.downloaded import Downloaded, read_downloaded
from clipsieve.training.data.plan import PlanSource
from clipsieve.training.data.plan_file import (
    BOUNDS,
    HEADER_NAME,
    ROWS,
    UIDS,
    PlanHeader,
    PlanInputs,
    SamplePlan,
    clear_plan,
    column_paths,
    open_plan,
)

_ROWS_AT_ONCE = 1 << 22


def bring_up(before: str, folder: str, source: PlanSource, inputs: PlanInputs) -> PlanHeader:
    """Write the plan of the folder ``before`` into ``folder``, its samples where the shards of ``source`` have them."""
    plan = open_plan(before, source.shards)
    clear_plan(folder)
    with files.naming(folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path in column_paths(before):
            _share(path, Path(folder, path.name))
        rows_path = Path(folder, f"{ROWS}.npy")
        shutil.copyfile(Path(before, rows_path.name), rows_path)
    rows = np.load(rows_path, mmap_mode="r+")
    ends = _fill(rows, plan, source)
    gone = sum(
        int(np.count_nonzero(rows["blocks"][start : start + _ROWS_AT_ONCE] == 0))
        for start in range(0, len(rows), _ROWS_AT_ONCE)
    )
    rows.flush()
    header = plan.header.model_copy(update={"inputs": inputs, "ends": ends, "gone": gone})
    files.write_bytes(files.join(folder, HEADER_NAME), header.model_dump_json().encode())
    return header


def _fill(rows: np.ndarray, plan: SamplePlan, source: PlanSource) -> tuple[int, ...]:
    """Write the samples' places now into ``rows``; returns where each shard's last sample ends."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        rows["blocks"][start : start + _ROWS_AT_ONCE] = 0
    listed, there = load_opt_out(source.opt_out), set(list_shards(source.shards))
    numbers = [number for number, name in enumerate(plan.header.shards) if name in there]
    tables = map_ahead(
        lambda number: read_downloaded(files.join(source.shards, f"{plan.header.shards[number]}.parquet"), listed),
        numbers,
        cores() + 1,
    )
    ends = list(plan.header.ends)
    for number, table in zip(numbers, tables, strict=True):
        ends[number] = table.end
        indices, which = _kept(plan, number, table)
        places = table.places[which]
        places["shard"] = number
        rows[indices] = places
    return tuple(ends)


def _kept(plan: SamplePlan, number: int, table: Downloaded) -> tuple[np.ndarray, np.ndarray]:
    """Of a shard, the plan's samples that are there and may be used; and which rows of its table they are."""
    first, last = plan.columns[BOUNDS][number : number + 2] if plan.is_by_shard else (0, len(plan))
    uids = plan.columns[UIDS][first:last]
    which = np.flatnonzero(~table.is_listed)
    places = np.minimum(np.searchsorted(uids, table.uids[which]), max(0, len(uids) - 1))
    is_planned = uids[places] == table.uids[which] if len(uids) else np.zeros(len(which), bool)
    indices, which = first + places[is_planned], which[is_planned]
    was_there = plan.rows["blocks"][indices] > 0
    return indices[was_there], which[was_there]


def _share(path: Path, copy: Path) -> None:
    """Have the file under a second name, or a copy of it where the folder's system has no links."""
    if path.stem == ROWS:
        return
    try:
        os.link(path, copy)
    except OSError:
        shutil.copyfile(path, copy)
