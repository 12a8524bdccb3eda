"""Resharded subsets: the subset's members, all and as often as it has them, each sample the source's bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from clipsieve.pipelines.engine.parts import folder_digest, read_parts
from clipsieve.pipelines.shards.rows import read_placed_rows
from clipsieve.pipelines.shards.tars import is_sample, rename_members
from clipsieve.pipelines.verify.checks import Check, expect, expect_same_members, finished_manifest
from clipsieve.pipelines.verify.shards import check_tar
from clipsieve.schemas import files, tables
from clipsieve.schemas.counts import ReshardCounts
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.members import as_raw, as_strings, find, read_subset
from clipsieve.schemas.ranges import RangeReader
from clipsieve.schemas.shards import is_index, list_shards
from clipsieve.schemas.uid import uid_bytes, uid_strings

_COMPARED_AT_A_TIME = 256
_PLACE = ("key", "tar_offset", "tar_size")


@dataclass(frozen=True)
class Places:
    """Where each pair of a folder of shards lies, by uid; 36 bytes a pair."""

    shards: list[str]
    uids: np.ndarray
    """bytes[N] of 16, ascending"""
    where: np.ndarray
    """int64[N, 3]: index of the shard, tar_offset, tar_size"""


def read_places(folder: str) -> Places:
    """Index a folder of shards."""
    names = list_shards(folder)
    uids, where = [np.zeros(0, "S16")], [np.zeros((0, 3), np.int64)]
    for index, name in enumerate(names):
        rows = read_placed_rows(folder, name)
        uids.append(as_strings(uid_bytes(rows["uid"])))
        offsets, sizes = (rows[column].to_numpy() for column in ("tar_offset", "tar_size"))
        where.append(np.stack([np.full(len(rows), index), offsets, sizes], axis=1))
    all_uids = np.concatenate(uids)
    order = np.argsort(all_uids)
    return Places(names, all_uids[order], np.concatenate(where)[order])


def check_resharded(folder: str, run_dir: str) -> Check:
    """What `reshard` wrote; held against the run's shards and subset where these are there."""
    found = finished_manifest(folder)
    names, digests, uids = list_shards(folder), [], []
    for name in names:
        rows = tables.read_table(files.join(folder, f"{name}.parquet"), tables.SHARDS, ("uid", *_PLACE))
        stats = json.loads(files.read_bytes(files.join(folder, f"{name}_stats.json")))
        digests.append(check_tar(folder, name, rows.select(_PLACE), stats["tar_xxh3"], stats["rows_digest"]))
        uids.append(as_strings(uid_bytes(rows["uid"])))
    listed = read_parts(folder)
    by_name = {part.name: part.digest for part in listed}
    for name, digest in zip(names, digests, strict=True):
        parts = f"{by_name.get(f'{name}.tar')} {by_name.get(f'{name}.parquet')}"
        expect(parts == digest, f"{folder}: _parts.json lists another content of shard {name}")
    expect(len(listed) == 2 * len(names), f"{folder}: {len(names)} shards, _parts.json lists {len(listed)} files")
    expect(folder_digest(listed) == found.digest, f"{folder}: its manifest's digest is of other shards")
    _check_sizes(folder, {f"{name}.tar": len(members) for name, members in zip(names, uids, strict=True)})
    members = np.sort(np.concatenate(uids))
    compared = [_compare_members(folder, members, run_dir, found)]
    source = files.join(run_dir, "shards")
    anew = "written anew from tars of another tool"
    compared.append(anew if is_index(source) else _compare_bytes(folder, names, source))
    return Check(
        f"resharded/{files.name_of(folder)}",
        f"{len(members):,} pairs in {len(names):,} shards; {'; '.join(compared)}",
    )


def _compare_members(folder: str, members: np.ndarray, run_dir: str, found: Manifest) -> str:
    for parent in ("subsets", "samples"):
        for suffix in (".npy", ".parquet"):
            for path in files.list_files(files.join(run_dir, parent), suffix):
                if files.sha256_file(path) == found.subsets[0].digest:
                    left_out = _expect_members(folder, members, read_subset(path), found.counted(ReshardCounts))
                    return f"all of {parent}/{files.name_of(path)}{left_out}"
    return "its subset file is not there to compare with"


def _expect_members(folder: str, members: np.ndarray, subset: np.ndarray, counts: ReshardCounts) -> str:
    """The members are the subset's but for as many as were opted out or missing; returns words on these."""
    why = {"opted out": counts.opted_out, "missing from the shards": counts.missing}
    left_out = {reason: count for reason, count in why.items() if count}
    kept = subset[find(members, as_raw(subset))] if left_out else subset
    expect_same_members(members, kept, folder)
    expect(np.array_equal(members, kept), f"{folder}: a uid does not stand in it as often as in its subset")
    lost, words = len(subset) - len(kept), " and ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    expect(lost == sum(left_out.values()), f"{folder}: lacks {lost} of its subset, its manifest counts {words or 0}")
    return f" but {words}" if words else ""


def _compare_bytes(folder: str, names: list[str], shards: str) -> str:
    if not files.exists(shards):
        return "the shards are not there to compare with"
    source, reader = read_places(shards), RangeReader()
    for name in names:
        rows = tables.read_table(files.join(folder, f"{name}.parquet"), tables.SHARDS, ("uid", *_PLACE))
        for batch in rows.to_batches(_COMPARED_AT_A_TIME):
            for uid, ours, theirs in _both_bytes(files.join(folder, f"{name}.tar"), batch, shards, source, reader):
                expect(
                    ours == theirs,
                    f"{folder}/{name}.tar: sample of uid {uid} is not the source's, byte for byte",
                )
    return "every sample byte for byte the source's"


def _both_bytes(
    tar: str, batch: pa.RecordBatch, shards: str, source: Places, reader: RangeReader
) -> Iterator[tuple[str, bytes, bytes]]:
    """Each sample's uid, its bytes in ``tar``, and its bytes in the source."""
    uids = as_strings(uid_bytes(batch["uid"]))
    places = np.searchsorted(source.uids, uids)
    known = places < len(source.uids)
    known[known] = source.uids[places[known]] == uids[known]
    lost = uid_strings(as_raw(uids[~known][:1]))
    expect(known.all(), f"{tar}: uid {lost} is not in the shards")
    starts, sizes = (batch[column].to_pylist() for column in ("tar_offset", "tar_size"))
    copied = reader.read([(tar, start, size) for start, size in zip(starts, sizes, strict=True)])
    theirs = source.where[places].tolist()
    original = reader.read([(files.join(shards, f"{source.shards[n]}.tar"), start, size) for n, start, size in theirs])
    named = zip(batch["uid"].to_pylist(), batch["key"].to_pylist(), copied, original, strict=True)
    yield from ((uid, ours, _under_key(source_bytes, key)) for uid, key, ours, source_bytes in named)


def _under_key(sample: bytes, key: str) -> bytes:
    """The source's sample as `reshard` copies it: a pair's further copies have keys of their own."""
    renamed = bytearray(sample)
    if not is_sample(memoryview(renamed), key):
        rename_members(memoryview(renamed), key)
    return bytes(renamed)


def _check_sizes(folder: str, sizes: dict[str, int]) -> None:
    recorded = json.loads(files.read_bytes(files.join(folder, "sizes.json")))
    expect(recorded == sizes, f"{folder}/sizes.json: is not what the shards hold")
    meta = json.loads(files.read_bytes(files.join(folder, "meta.json")))
    named = [meta["output_shard_format"].format(index) for index in range(meta["output_shard_count"])]
    expect(named == list(sizes), f"{folder}/meta.json: names other shards than there are")
