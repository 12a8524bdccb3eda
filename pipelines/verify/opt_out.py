"""The opt-out list: nothing that it names is in any folder of the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from clipsieve.pipelines.shards.rows import read_rows
from clipsieve.pipelines.verify.checks import Check, expect
from clipsieve.schemas import files, tables
from clipsieve.schemas.members import as_raw, read_members
from clipsieve.schemas.opt_out import INPUT_NAME, OptOut
from clipsieve.schemas.run import Run
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.uid import uid_bytes, uid_strings

_NAME = "opt-out list"


def check_opt_out(run: Run, listed: OptOut) -> Check:
    """No pair that ``listed`` names is in shards, scores, subsets, samples or resharded folders, nor eligible."""
    if listed.path is None:
        recorded = [made.name for made in run.made if INPUT_NAME in made.manifest.inputs]
        return Check(_NAME, f"not given, not checked; made with one: {', '.join(recorded) or 'nothing'}")
    return _expect_absence(listed, _pairs(run.path, listed), "shards, scores, subsets and samples")


def check_absence(shards: str, listed: OptOut) -> Check:
    """No pair that ``listed`` names is in a folder of shards, whoever wrote it."""
    return _expect_absence(listed, _pairs_in_shards(shards, listed), f"the shards of {shards}")


def _expect_absence(listed: OptOut, found: Iterable[tuple[str, np.ndarray, np.ndarray]], where: str) -> Check:
    pairs = 0
    for path, uids, is_listed in found:
        first = ", ".join(uid_strings(uids[is_listed][:1]))
        expect(not is_listed.any(), f"{path}: holds {int(is_listed.sum())} pairs that {listed.path} names: uid {first}")
        pairs += len(uids)
    entries = f"{len(listed.uids):,} uids, {len(listed.urls):,} URLs, {len(listed.domains):,} domains"
    return Check(_NAME, f"{entries}; none of their pairs among {pairs:,} in {where}")


def _pairs(run_dir: str, listed: OptOut) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Every file of pairs that may be used: its path, their uids uint8[N, 16], and which are listed, bool[N]."""
    resharded = files.list_folders(files.join(run_dir, "resharded"))
    for folder in (files.join(run_dir, "shards"), *resharded):
        if files.exists(folder):
            yield from _pairs_in_shards(folder, listed)
    for path in files.list_files(files.join(run_dir, "scores"), ".parquet"):
        uids = uid_bytes(tables.read_table(path, tables.SCORES, ["uid"])["uid"])
        yield path, uids, listed.forbids_uids(uids)
    for path in files.list_files(files.join(run_dir, "selection"), ".parquet"):
        rows = tables.read_table(path, tables.SELECTION, ["uid", "reject_reason"])
        uids = uid_bytes(rows.filter(rows["reject_reason"].is_null())["uid"])
        yield path, uids, listed.forbids_uids(uids)
    for folder in ("subsets", "samples"):
        for path in files.list_files(files.join(run_dir, folder), ".npy"):
            uids = as_raw(read_members(path))
            yield path, uids, listed.forbids_uids(uids)


def _pairs_in_shards(folder: str, listed: OptOut) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for name in list_shards(folder):
        rows = read_rows(folder, name)
        path = files.join(folder, f"{name}.parquet")
        yield path, uid_bytes(rows["uid"]), listed.forbids_rows(rows, path)
