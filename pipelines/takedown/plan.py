"""What a takedown removes, found before anything is changed.

    uid, url, final_url of the shards' rows -> the uids that the list names -> how many each file of the run holds

A URL is gone with the first shard that is rewritten, so the uids and the plan are written to RUN/_takedown first:
a takedown that was stopped goes on from there. The folder is removed as the last act.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from clipsieve.pipelines.run_folders import MODEL_STAGES, SHARD_STAGES
from clipsieve.schemas import files, manifest, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.members import as_strings, find, load_members, write_members
from clipsieve.schemas.opt_out import OptOut
from clipsieve.schemas.samples import list_shards
from clipsieve.schemas.tables import SHARDS
from clipsieve.schemas.threads import map_ahead
from clipsieve.schemas.uid import from_u64_pairs, uid_bytes

BLOCK_UIDS = 1 << 20
_FOLDER, _PLAN_NAME, _UIDS_NAME = "_takedown", "plan.json", "uids.npy"


class Plan(BaseModel):
    """A takedown as it was decided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    opt_out: str
    """Digest of the list."""
    begun_at: str
    pairs: int
    """Distinct uids of the run that it names."""
    touched: dict[str, dict[str, int]]
    """By folder: the files that hold some of them (of shards, their names), and how many."""
    folder_pairs: dict[str, int]
    """By touched folder: how many of them it holds, each counted once."""
    digests: dict[str, str]
    """SHA-256, before, of each touched file that a stage can have been given by itself, by its path in the run."""
    models: dict[str, int]
    """By the folder of a model: how many of them it was trained on."""


@dataclass(frozen=True)
class Held:
    """What a file holds of the pairs that are to go."""

    uids: np.ndarray
    """bytes[N] of 16, as often as they stand there."""
    downloaded: int
    """Of a shard, how many have an image."""


def units(run_dir: str, name: str, made: Manifest) -> list[str]:
    """The files of a run's folder that are judged one by one: shards by their names, others as they are called."""
    folder = files.join(run_dir, name)
    if made.stage in SHARD_STAGES:
        return list_shards(folder)
    return [files.name_of(path) for suffix in (".parquet", ".npy") for path in files.list_files(folder, suffix)]


def named_uids(run_dir: str, folders: Mapping[str, Manifest], listed: OptOut) -> np.ndarray:
    """The uids bytes[N] of 16, ascending, of the run's pairs that the list names.

    What a URL or domain names is told by the shards; InputError where the list has some and the run no shards.
    """
    shards = [name for name, made in folders.items() if made.stage in SHARD_STAGES]
    if listed.columns and not shards:
        raise InputError(f"{run_dir}: holds no shards to tell whose URLs and domains are listed; list the uids")
    found = [listed.uids]
    for name in shards if listed.columns else ():
        look = partial(_named_in_shard, files.join(run_dir, name), listed=listed)
        found += map_ahead(look, units(run_dir, name, folders[name]))
    return np.unique(np.concatenate(found))


def make_plan(run_dir: str, folders: Mapping[str, Manifest], uids: np.ndarray, listed: OptOut) -> Plan:
    """Look through every file of the run for the pairs ``uids``, bytes[N] of 16, ascending."""
    touched: dict[str, dict[str, int]] = {}
    folder_pairs, downloaded, seen = {}, {}, [np.zeros(0, "S16")]
    for name, made in folders.items():
        names = [] if made.stage in MODEL_STAGES else units(run_dir, name, made)
        held = dict(zip(names, map_ahead(partial(_look, run_dir, name, made, uids), names), strict=True))
        touched[name] = {unit: len(holds.uids) for unit, holds in held.items() if len(holds.uids)}
        own = np.unique(np.concatenate([np.zeros(0, "S16"), *(holds.uids for holds in held.values())]))
        folder_pairs[name], downloaded[name] = len(own), sum(holds.downloaded for holds in held.values())
        seen.append(own)
    touched = {name: counts for name, counts in touched.items() if counts}
    return Plan(
        opt_out=listed.digest,
        begun_at=manifest.now(),
        pairs=len(np.unique(np.concatenate(seen))),
        touched=touched,
        folder_pairs={name: folder_pairs[name] for name in touched},
        digests=dict(_input_digests(run_dir, folders, touched)),
        models=dict(_trained_on(folders, touched, downloaded)),
    )


def write_plan(run_dir: str, plan: Plan, uids: np.ndarray) -> None:
    """Write both, the plan last: where it is, the takedown has begun."""
    write_members(uids, files.join(run_dir, _FOLDER, _UIDS_NAME))
    files.write_bytes(_plan_path(run_dir), plan.model_dump_json(indent=1).encode() + b"\n")


def read_plan(run_dir: str) -> Plan | None:
    """The plan of a takedown that was begun and has not ended; None where there is none."""
    if not files.exists(_plan_path(run_dir)):
        return None
    try:
        return Plan.model_validate_json(files.read_bytes(_plan_path(run_dir)))
    except ValidationError as error:
        raise InputError(f"{_plan_path(run_dir)}: not the plan of a takedown ({error.errors()[0]['msg']})") from error


def read_uids(run_dir: str) -> np.ndarray:
    """The uids of the plan, bytes[N] of 16, ascending."""
    return load_members(files.join(run_dir, _FOLDER, _UIDS_NAME))


def drop_plan(run_dir: str) -> None:
    files.remove(_plan_path(run_dir))  # first: without it a takedown has ended
    files.remove(files.join(run_dir, _FOLDER))


def _plan_path(run_dir: str) -> str:
    return files.join(run_dir, _FOLDER, _PLAN_NAME)


def _named_in_shard(folder: str, shard: str, listed: OptOut) -> np.ndarray:
    path = files.join(folder, f"{shard}.parquet")
    with tables.open_parquet(path) as parquet:
        columns = [name for name in ("uid", *listed.columns) if name in parquet.schema_arrow.names]
        tables.check_columns(parquet.schema_arrow, SHARDS, path, ["uid"])
        rows = parquet.read(columns, use_threads=False)
    return as_strings(uid_bytes(rows["uid"])[listed.forbids_rows(rows, path)])


def _look(run_dir: str, name: str, made: Manifest, uids: np.ndarray, unit: str) -> Held:
    path = files.join(run_dir, name, unit)
    if unit.endswith(".npy"):
        blocks = (from_u64_pairs(block) for block in iter_npy(path))
        found = [as_strings(raw[find(uids, raw)]) for raw in blocks]
        return Held(np.concatenate([np.zeros(0, "S16"), *found]), 0)
    is_shard = made.stage in SHARD_STAGES
    columns = ["uid", "tar_offset", "url"] if is_shard else ["uid"]
    held, downloaded = [np.zeros(0, "S16")], 0
    for batch in tables.iter_batches(f"{path}.parquet" if is_shard else path, SHARDS, columns):
        raw = uid_bytes(batch["uid"])
        is_named = find(uids, raw)
        if is_shard:
            has_image = batch["tar_offset"].is_valid().to_numpy(zero_copy_only=False)
            downloaded += int((is_named & has_image).sum())
            is_named &= batch["url"].is_valid().to_numpy(zero_copy_only=False)  # else it was taken down before
        held.append(as_strings(raw[is_named]))
    return Held(np.concatenate(held), downloaded)


def iter_npy(path: str) -> Iterator[np.ndarray]:
    """A subset's npy in blocks, structured (upper64, lower64)[N]; a local file is not read as a whole."""
    pairs = load_members(path)
    for start in range(0, len(pairs), BLOCK_UIDS):
        yield np.asarray(pairs[start : start + BLOCK_UIDS])


def _input_digests(
    run_dir: str, folders: Mapping[str, Manifest], touched: Mapping[str, Mapping[str, int]]
) -> Iterator[tuple[str, str]]:
    for name, counts in touched.items():
        for unit in counts if folders[name].stage == "select" and name != "selection" else ():
            yield f"{name}/{unit}", files.sha256_file(files.join(run_dir, name, unit))


def _trained_on(
    folders: Mapping[str, Manifest], touched: Mapping[str, Mapping[str, int]], downloaded: Mapping[str, int]
) -> Iterator[tuple[str, int]]:
    """Models by their subset's name, or by the shards that they were trained on as a whole."""
    of_subsets = {
        unit.rpartition(".")[0]: count
        for name, counts in touched.items()
        if folders[name].stage == "select" and name != "selection"
        for unit, count in counts.items()
    }
    for name, made in folders.items():
        if made.stage != "train":
            continue
        subset = made.recipe.get("subset")
        sources = [
            source
            for source, other in folders.items()
            if other.stage in SHARD_STAGES and made.inputs["shards"] in manifest.known_digests(other)
        ]
        count = of_subsets.get(subset, 0) if subset else sum(downloaded[source] for source in sources)
        if count:
            yield name, count
