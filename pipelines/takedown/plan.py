"""What a takedown removes, found before anything is changed.

    uid, url, final_url of the shards' rows -> the uids that the list names -> how many each file of the run holds

A URL is gone with the first shard that is rewritten, so the uids and the plan are written to RUN/_takedown first:
a takedown that was stopped resumes from there. The folder is removed as the last act.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from clipsieve.schemas import files, manifest, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import as_strings, find, load_members, write_members
from clipsieve.schemas.opt_out import OptOut
from clipsieve.schemas.run import Made, Run
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.stages import Holds
from clipsieve.schemas.tables import SHARDS
from clipsieve.schemas.threads import map_ahead
from clipsieve.schemas.training_data import TrainingData
from clipsieve.schemas.uid import from_u64_pairs, uid_bytes

BLOCK_UIDS = 1 << 20
_FOLDER, _PLAN_NAME, _UIDS_NAME = "_takedown", "plan.json", "uids.npy"


class TakedownPlan(BaseModel):
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
    """By the folder of a model or tokenizer: how many of them it was trained on."""


@dataclass(frozen=True)
class Held:
    """What a file holds of the pairs that are to go."""

    uids: np.ndarray
    """bytes[N] of 16, as often as they stand there."""
    downloaded: int
    """Of a shard, how many have an image."""


def units(made: Made) -> list[str]:
    """The files of a run's folder that are judged one by one: shards by their names, others as they are called."""
    if made.holds is Holds.SHARDS:
        return list_shards(made.path)
    return [files.name_of(path) for suffix in (".parquet", ".npy") for path in files.list_files(made.path, suffix)]


def named_uids(run: Run, listed: OptOut) -> np.ndarray:
    """The uids bytes[N] of 16, ascending, of the run's pairs that the list names.

    What a URL or domain names is told by the shards; InputError where the list has some and the run no shards.
    """
    shards = run.holding(Holds.SHARDS)
    if listed.columns and not shards:
        raise InputError(f"{run.path}: holds no shards to tell whose URLs and domains are listed; list the uids")
    found = [listed.uids]
    for made in shards if listed.columns else ():
        found += map_ahead(partial(_named_in_shard, made.path, listed=listed), units(made))
    return np.unique(np.concatenate(found))


def make_plan(run: Run, uids: np.ndarray, listed: OptOut) -> TakedownPlan:
    """Look through every file of the run for the pairs ``uids``, bytes[N] of 16, ascending."""
    held = {made.name: _look_through(made, uids) for made in run.with_pairs}
    own = {name: _distinct(holds.uids for holds in of_units.values()) for name, of_units in held.items()}
    touched = {
        name: {unit: len(holds.uids) for unit, holds in of_units.items() if len(holds.uids)}
        for name, of_units in held.items()
        if len(own[name])
    }
    return TakedownPlan(
        opt_out=listed.digest,
        begun_at=manifest.now(),
        pairs=len(_distinct(own.values())),
        touched=touched,
        folder_pairs={name: len(own[name]) for name in touched},
        digests={
            f"{made.name}/{unit}": files.sha256_file(files.join(made.path, unit))
            for made in run.holding(Holds.MEMBERS)
            for unit in touched.get(made.name, ())
        },
        models={name: pairs for name, pairs in _learnt_from(run, held).items() if pairs},
    )


def write_plan(run_dir: str, plan: TakedownPlan, uids: np.ndarray) -> None:
    """Write both, the plan last: where it is, the takedown has begun."""
    write_members(uids, files.join(run_dir, _FOLDER, _UIDS_NAME))
    files.write_bytes(_plan_path(run_dir), plan.model_dump_json(indent=1).encode() + b"\n")


def read_plan(run_dir: str) -> TakedownPlan | None:
    """The plan of a takedown that was begun and has not ended; None where there is none."""
    if not files.exists(_plan_path(run_dir)):
        return None
    try:
        return TakedownPlan.model_validate_json(files.read_bytes(_plan_path(run_dir)))
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


def _look_through(made: Made, uids: np.ndarray) -> dict[str, Held]:
    """What each file of a folder holds of the pairs ``uids``."""
    names = units(made)
    return dict(zip(names, map_ahead(partial(_look, made, uids), names), strict=True))


def _look(made: Made, uids: np.ndarray, unit: str) -> Held:
    path = files.join(made.path, unit)
    if unit.endswith(".npy"):
        blocks = (from_u64_pairs(block) for block in iter_npy(path))
        found = [as_strings(raw[find(uids, raw)]) for raw in blocks]
        return Held(np.concatenate([np.zeros(0, "S16"), *found]), 0)
    is_shard = made.holds is Holds.SHARDS
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


def _distinct(uids: Iterable[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate([np.zeros(0, "S16"), *uids]))


def _learnt_from(run: Run, held: Mapping[str, Mapping[str, Held]]) -> dict[str, int]:
    """By the folder of a model or tokenizer, how many of the pairs ``held`` it was trained on."""
    of_subsets = {
        unit.rpartition(".")[0]: holds.uids
        for made in run.holding(Holds.MEMBERS)
        for unit, holds in held[made.name].items()
    }
    learnt = {made.name: made.manifest.trained_on() for made in run.holding(Holds.LEARNT)}
    return {
        name: len(_distinct(of_subsets[subset] for subset in data.names if subset in of_subsets))
        if data.names
        else sum(_in_shards(held[source.name].values(), data) for source in run.sources_of(data))
        for name, data in learnt.items()
        if data
    }


def _in_shards(held: Iterable[Held], data: TrainingData) -> int:
    """How many of the pairs that shards hold are in ``data``: all rows of the table, or those that have an image."""
    if data.source == "pairs":
        return len(_distinct(holds.uids for holds in held))
    return sum(holds.downloaded for holds in held)
