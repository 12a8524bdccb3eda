"""The rows of an index: of each sample of a tar its uid, its place and all that is known of it.

What is known of a sample is its row in the Parquet next to the tar, as img2dataset and clipsieve write one; without
such a file, its json and its caption, which are read from the tar. A caption that only a json can hold is looked for
there in either case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.pipelines.pairs.table import CAPTION_NAMES, URL_NAMES, find_name
from clipsieve.pipelines.shards.scan import FoundSample, scan_samples
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.naming import IMAGE_EXTENSIONS, MemberNaming, json_of
from clipsieve.schemas.options import IndexOptions
from clipsieve.schemas.outcomes import Status
from clipsieve.schemas.samples import Sample, stream_samples
from clipsieve.schemas.tables import SHARDS
from clipsieve.schemas.uid import UID_PATTERN, uid_of

COLUMNS = ("uid", "key", "caption", "url", "status", "tar_offset", "tar_size")
"""Columns of the shards table that every index has."""

_OF_JSON = {
    "url": str,
    "width": int,
    "height": int,
    "original_width": int,
    "original_height": int,
    "sha256": str,
}
"""Columns of the shards table that a json member may say, and what each is there."""


@dataclass(frozen=True)
class SourceShard:
    """A tar to index."""

    name: str
    """Of the shard in the index."""
    tar: str

    @cached_property
    def table(self) -> str | None:
        """The path of the Parquet next to it; None where there is none."""
        path = self.tar.removesuffix(".tar") + ".parquet"
        return path if files.exists(path) else None


def index_rows(shard: SourceShard, options: IndexOptions) -> tuple[pa.Table, Counter[str]]:
    """The rows of a shard's samples in the tar's order, and how many were left out and why (`IndexCounts`).

    Raises InputError for a tar that is damaged, that lacks samples of its table, or whose json cannot be read.
    """
    naming, counts = MemberNaming(captions=options.captions), Counter[str]()
    found: dict[str, FoundSample | None] = {}
    for sample in scan_samples(shard.tar, naming):
        if sample.key in found:
            counts["duplicates"] += 1
            continue
        has_image = any(part in sample.parts for part in IMAGE_EXTENSIONS)
        has_caption = naming.caption_member(sample.parts) is not None
        counts["without_image"] += not has_image
        counts["without_caption"] += has_image and not has_caption
        found[sample.key] = sample if has_image and has_caption else None
    kept = {key: sample for key, sample in found.items() if sample is not None}
    rows = _listed(shard, set(found), kept)
    if rows is not None:
        rows = _captioned(shard, rows, kept, naming, counts)
    else:
        rows = _described(shard, list(kept.values()), naming, options.uid, counts)
    places = [kept[key] for key in rows["key"].to_pylist()]
    columns = {
        "uid": _uids(shard, rows, options, counts),
        "status": pa.array([Status.SUCCESS.value] * len(places), pa.string()),
        "tar_offset": pa.array([sample.start for sample in places], pa.int64()),
        "tar_size": pa.array([sample.end - sample.start for sample in places], pa.int64()),
    }
    others = {name: rows[name] for name in rows.schema.names if name not in columns}
    return pa.table(others | columns).sort_by("tar_offset"), counts


def _listed(shard: SourceShard, keys: Set[str], kept: Mapping[str, FoundSample]) -> pa.Table | None:
    """The table's rows of the samples ``kept``; None where there is no table that knows samples by their keys.

    ``keys`` are those of all samples of the tar.
    """
    if shard.table is None:
        return None
    with tables.open_parquet(shard.table) as parquet:
        names = parquet.schema_arrow.names
        if "key" not in names or find_name(names, CAPTION_NAMES) is None:
            return None
        rows = parquet.read(use_threads=False)
    if "status" in names:
        rows = rows.filter(pc.equal(rows["status"], Status.SUCCESS.value))
    listed = rows["key"].to_pylist()
    for path, here, there, what in (
        (shard.tar, keys, listed, "samples of its Parquet"),
        (shard.table, set(listed), kept, "samples of its tar"),
    ):
        if lost := [key for key in there if key not in here]:
            raise InputError(f"{path}: {len(lost)} {what} are missing, the first {lost[0]}")
    rows = rows.filter(pa.array([key in kept for key in listed], pa.bool_()))
    for name, spellings in (("caption", CAPTION_NAMES), ("url", URL_NAMES)):
        spelling = find_name(names, spellings)
        values = rows[spelling].cast(pa.string()) if spelling else pa.nulls(len(rows), pa.string())
        rows = rows.set_column(names.index(name), name, values) if name in names else rows.append_column(name, values)
    return rows


def _captioned(
    shard: SourceShard, rows: pa.Table, kept: Mapping[str, FoundSample], naming: MemberNaming, counts: Counter[str]
) -> pa.Table:
    """The rows less those whose json, where alone a reader of the tar would look for the caption, does not hold it."""
    only_json = [sample for sample in kept.values() if set(sample.parts).isdisjoint(naming.captions)]
    lacking = [sample.key for sample in _read(shard, only_json, naming) if not _has_caption(sample)]
    counts["without_caption"] += len(lacking)
    return rows.filter(pc.invert(pc.is_in(rows["key"], pa.array(lacking, rows["key"].type)))) if lacking else rows


def _described(
    shard: SourceShard, kept: Sequence[FoundSample], naming: MemberNaming, uid: str, counts: Counter[str]
) -> pa.Table:
    """What the samples' own members say, as rows; one whose json lacks the caption's field is counted instead."""
    rows = []
    for sample in _read(shard, kept, naming):
        if not _has_caption(sample):
            counts["without_caption"] += 1
            continue
        data = sample.members.get("json")
        said = json_of(data, f"{shard.tar}: sample {sample.key}") if data is not None else {}
        known = {name: said[name] for name, kind in _OF_JSON.items() if isinstance(said.get(name), kind)}
        own = None if said.get(uid) is None else str(said[uid])
        rows.append({"key": sample.key, "caption": sample.caption, uid: own} | known)
    fields = [SHARDS.schema.field(name) for name in ("key", "caption", *_OF_JSON)]
    table = pa.Table.from_pylist(rows, pa.schema([*fields, (uid, pa.string())]))
    unknown = {name for name in table.schema.names if table[name].null_count == len(table)}
    return table.drop_columns(sorted(unknown - {"key", "caption", "url"}))


def _read(shard: SourceShard, found: Sequence[FoundSample], naming: MemberNaming) -> Iterator[Sample]:
    return stream_samples(((shard.tar, each.start, each.end - each.start) for each in found), naming)


def _has_caption(sample: Sample) -> bool:
    return "txt" in sample.members


def _uids(shard: SourceShard, rows: pa.Table, options: IndexOptions, counts: Counter[str]) -> pa.Array:
    """The rows' uids, each by the first way that there is; what is no uid in the column of uids is an InputError."""
    own = rows[options.uid].to_pylist() if options.uid in rows.schema.names and options.uid_from == "any" else []
    uids = []
    columns = (rows[name].to_pylist() for name in ("key", "url", "caption"))
    for uid, key, url, caption in zip_longest(own, *columns):
        if uid is not None:
            if not isinstance(uid, str) or not UID_PATTERN.fullmatch(uid):
                raise InputError(
                    f"{shard.tar}: sample {key}: {options.uid} {str(uid)[:40]!r} is not 32 hex digits in lower case; "
                    "name another column with `uid`, or take `uid_from` pair"
                )
            counts["own_uids"] += 1
        elif url is not None and options.uid_from != "key":
            uid = uid_of(url, caption or "")
        elif options.uid_from != "pair":
            uid = uid_of(shard.name, key)
            counts["hashed_keys"] += 1
        else:
            raise InputError(f"{shard.tar}: sample {key}: nothing says its url; take `uid_from` key")
        uids.append(uid)
    return pa.array(uids, pa.string())
