"""Tell one pair's story from a run's folders: where it came from, how it was judged, what holds it, where it lies.

The shards' uid columns are searched, 33 bytes a pair, in threads; uids are random, so that no statistics of Parquet
could spare it. Scores, filters, duplicates and selection bear the shard's name. Subsets are bisected where they lie.
"""

from __future__ import annotations

import bisect
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow.compute as pc

from clipsieve.pipelines.shards.rows import read_placed_rows
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import load_members
from clipsieve.schemas.naming import IMAGE_EXTENSIONS
from clipsieve.schemas.ranges import RangeReader
from clipsieve.schemas.run import Run, read_run
from clipsieve.schemas.samples import read_samples
from clipsieve.schemas.shards import list_shards, naming_of, tar_of
from clipsieve.schemas.stages import STAGES, Holds
from clipsieve.schemas.tables import SHARDS
from clipsieve.schemas.threads import map_ahead
from clipsieve.schemas.training_data import TrainingData
from clipsieve.schemas.uid import UID_PATTERN, uid_text
from clipsieve.schemas.values import python_rows


@dataclass(frozen=True)
class Found:
    """A row of the pair, and where it stands."""

    path: str
    row: int
    """Counted from 1."""
    values: dict[str, Any]


@dataclass(frozen=True)
class Explanation:
    """All that a run holds of a pair. Each row's columns are those that have a value."""

    uid: str
    verdict: str
    """In one sentence, how far it came and why no further."""
    shards: tuple[Found, ...]
    """A row for each pass that tried it."""
    judged: tuple[Found, ...]
    """Scores, and what filters, dedup and select said of it."""
    kept: tuple[Found, ...]
    """Of a duplicate, the rows of the pair that was kept instead."""
    members_of: tuple[str, ...]
    """The subsets and samples that hold it."""
    resharded: tuple[Found, ...]
    models: tuple[str, ...]
    """The models, and the tokenizer, that were trained on it."""
    image: str | None
    """Where its picture was written."""


def run(uid: str, run_dir: str, image_out: str | None = None) -> Explanation:
    """Look for the pair in every folder of the run; its picture is written to ``image_out`` or a temporary file.

    Raises InputError for what is no uid, a folder that is no run, and a uid that none of its folders holds.
    """
    if not UID_PATTERN.fullmatch(uid):
        raise InputError(f"{uid!r} is not a uid (32 hex digits, in lower case)")
    found, shards_dir = read_run(run_dir), STAGES["download"].folder(run_dir)
    if not found.made and not files.exists(shards_dir):
        raise InputError(f"{run_dir}: neither shards nor another folder of a run is in it")
    shards = _in_shards(shards_dir, uid) if files.exists(shards_dir) else ()
    names = {files.name_of(row.path) for row in shards}
    judged = (_first(_candidates(made.path, names), uid) for made in found.holding(Holds.ROWS))
    seen = tuple(row for row in judged if row is not None)
    if not shards and not seen:
        raise InputError(f"{run_dir}: holds no pair of uid {uid}")
    members_of = tuple(_subsets(found, uid))
    kept_uid = next((row.values["duplicate_of"] for row in seen if "duplicate_of" in row.values), None)
    told = Explanation(
        uid=uid,
        verdict=_verdict(shards, seen, members_of),
        shards=shards,
        judged=seen,
        kept=_in_shards(shards_dir, kept_uid) if kept_uid and files.exists(shards_dir) else (),
        members_of=members_of,
        resharded=tuple(row for made in found.of("reshard") for row in _in_shards(made.path, uid)),
        models=(),
        image=_extract(shards, uid, image_out),
    )
    return replace(told, models=tuple(_learnt_from(found, told)))


def _candidates(folder: str, names: set[str]) -> list[str]:
    """The files that can hold the pair: those of its shards' names, or all where no shard is known to hold it."""
    paths = files.list_files(folder, ".parquet")
    return [path for path in paths if files.name_of(path) in names] or paths


def _in_shards(folder: str, uid: str) -> tuple[Found, ...]:
    found = map_ahead(partial(_in_shard, folder, uid), list_shards(folder))
    return tuple(row for row in found if row is not None)


def _in_shard(folder: str, uid: str, name: str) -> Found | None:
    """The row of a pair in a shard, whoever wrote it."""
    path = files.join(folder, f"{name}.parquet")
    if files.exists(path):
        with tables.open_parquet(path) as parquet:
            if {"uid", "tar_offset", "tar_size"} <= set(parquet.schema_arrow.names):
                return _find_row(path, uid)
    rows = read_placed_rows(folder, name)
    row = pc.index(rows["uid"], uid).as_py()
    return Found(path, row + 1, _present(python_rows(rows.slice(row, 1))[0])) if row >= 0 else None


def _first(paths: Iterable[str], uid: str) -> Found | None:
    with closing(map_ahead(partial(_find_row, uid=uid), paths)) as rows:
        return next((row for row in rows if row is not None), None)


def _find_row(path: str, uid: str) -> Found | None:
    """The row of a pair in a Parquet: its uid column is read, and of the other columns one row group."""
    with tables.open_parquet(path) as parquet:
        tables.check_columns(parquet.schema_arrow, SHARDS, path, ["uid"])
        before = 0
        for group in range(parquet.num_row_groups):
            uids = uid_text(parquet.read_row_group(group, ["uid"], use_threads=False)["uid"])
            row = pc.index(uids, uid).as_py()
            if row >= 0:
                found = tables.with_text_uids(parquet.read_row_group(group, use_threads=False).slice(row, 1))
                return Found(path, before + row + 1, _present(python_rows(found)[0]))
            before += len(uids)
    return None


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _subsets(run: Run, uid: str) -> Iterator[str]:
    halves = int(uid[:16], 16), int(uid[16:], 16)
    for made in run.holding(Holds.MEMBERS):
        for path in files.list_files(made.path, ".npy"):
            members = load_members(path)
            place = bisect.bisect_left(members, halves, key=_halves)
            if place < len(members) and _halves(members[place]) == halves:
                yield f"{made.name}/{files.name_of(path).removesuffix('.npy')}"


def _halves(member: Any) -> tuple[int, int]:
    return int(member["f0"]), int(member["f1"])


def _learnt_from(run: Run, told: Explanation) -> Iterator[str]:
    """The models and tokenizers that were trained on the pair: on a subset that holds it, or on all pairs."""
    held = {files.name_of(name) for name in told.members_of}
    for made in run.holding(Holds.LEARNT):
        data = made.manifest.trained_on()
        if data and (not held.isdisjoint(data.names) if data.names else _is_in_source(run, data, told)):
            yield files.name_of(made.name)


def _is_in_source(run: Run, data: TrainingData, told: Explanation) -> bool:
    """Whether the pair is one of all those of a table or a folder of shards; of an unknown one, the run's own."""
    sources = run.sources_of(data)
    if data.source == "pairs":
        return bool(sources and told.shards)
    copies = [made for made in sources if made.output.is_parent]
    if copies:
        return any(row.path.startswith(f"{made.path}/") for made in copies for row in told.resharded)
    return bool(told.judged) or any(row.values.get("status", "success") == "success" for row in told.shards)


def _verdict(shards: Iterable[Found], judged: Iterable[Found], members_of: Iterable[str]) -> str:
    ends = [found.values for found in shards]
    if ends and not any(end.get("status", "success") == "success" for end in ends):
        end = ends[-1]
        status = f" {end['http_status']}" if "http_status" in end else ""
        said = f" ({end['consent']})" if end.get("error_class") == "opted_out" and "consent" in end else ""
        return f"not downloaded: {end.get('error_class') or end['status']}{status}{said}"
    values: dict[str, Any] = {}
    for found in judged:
        values |= found.values
    if "reject_reason" in values:
        return f"rejected: {values['reject_reason']}"
    if "duplicate_of" in values:
        return f"a duplicate: {values['duplicate_of']} is kept instead"
    if "quantile_rank" not in values:
        return "scored, not selected from yet" if values else "downloaded, and not scored"
    held = ", ".join(files.name_of(name) for name in members_of) or "no subset or sample"
    return f"eligible, {100 * values['quantile_rank']:.2f}% of the pairs rank above it; in {held}"


def _extract(shards: Iterable[Found], uid: str, image_out: str | None) -> str | None:
    """Write the pair's picture as it lies in the tar; returns where, or None where there is none."""
    placed = next((found for found in shards if "tar_offset" in found.values), None)
    if placed is None:
        return None
    folder, _, name = placed.path.removesuffix(".parquet").rpartition("/")
    tar, start = tar_of(folder, name), placed.values["tar_offset"]
    (sample,) = read_samples([(tar, start, placed.values["tar_size"])], RangeReader(), naming_of(folder))
    if sample.key != placed.values["key"]:
        raise InputError(f"{tar}: no sample {placed.values['key']} at byte {start}; run clipsieve verify")
    extension = next(extension for extension in IMAGE_EXTENSIONS if extension in sample.members)
    path = image_out or files.join(tempfile.mkdtemp(prefix="clipsieve-"), f"{uid}.{extension}")
    files.write_bytes(path, sample.image)
    return path
