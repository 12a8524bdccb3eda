"""Write the members of a subset as shards of their own, in a seeded order, samples copied byte for byte.

    members -> the output shards' borders            (shuffle_order.py: uids alone are shuffled)
    source shards -> members' rows by output shard -> OUT/NNNNN.tar, .parquet, _stats.json

Rows cross the shuffle, images do not: whoever writes a shard reads each sample's bytes from its source tar.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import AsSingleton, TaggedOutput

from pipelines import engine
from pipelines.command import run_command
from pipelines.parts import ListParts, Part, folder_digest, read_parts
from pipelines.progress import Reading, progress
from pipelines.rows import read_placed_rows
from pipelines.shuffle_order import ShardBorders, order_keys, shard_of, slices_of
from schemas import files, manifest, tables
from schemas.errors import InputError
from schemas.manifest import Manifest
from schemas.members import as_raw, as_strings, find, load_members, read_members, write_members
from schemas.opt_out import OPTED_OUT, load_opt_out
from schemas.recipe import ReshardOptions
from schemas.samples import list_shards
from schemas.uid import uid_bytes, uid_strings

END_OF_ARCHIVE = bytes(1024)
COPIED_AT_A_TIME = 256
PAIRS_PER_WORKER = 20_000
"""Pairs whose copying is worth the seconds in which a worker process starts."""
MEMBERS_NAME = "_members.npy"
_SOURCE = "source_shard"
_ORDER = "order"


def run(
    shards: str,
    subset: str,
    out: str,
    options: ReshardOptions,
    beam_args: Sequence[str] = (),
    opt_out: str | None = None,
) -> Manifest:
    """Copy the samples of the folder ``shards`` that the file ``subset`` names into new shards in ``out``.

    Output shard k holds the members of rank [k·n, (k+1)·n) by (hash of seed and uid, uid); those that the
    file ``opt_out`` lists are left out, and counted. Raises InputError when members are missing from the shards,
    or stand in them twice, or for a list with URLs or domains that neither the shards nor the subset were made
    with; then no shard is written.
    """
    names = list_shards(shards)
    members, listed = read_members(subset), load_opt_out(opt_out)
    listed.expect_applied(manifest.read_manifest(shards), manifest.read_manifest(posixpath.dirname(subset)))
    is_listed = listed.forbids_uids(as_raw(members))
    members = members[~is_listed]
    if not len(members):
        why = "opted out as a whole" if len(is_listed) else "empty"
        raise InputError(f"{subset}: the subset is {why}; there is nothing to write")
    inputs = {"shards": manifest.input_digest(shards), "subset": manifest.input_digest(subset), **listed.inputs}
    opened = manifest.begin(out, "reshard", options.model_dump(), inputs)
    if opened.complete:
        return opened
    write_members(members, files.join(out, MEMBERS_NAME))
    count = -(-len(members) // options.shard_size)
    name_format = f"{{:0{max(5, len(str(count - 1)))}d}}"
    with (
        manifest.withdrawn_if_empty(out),
        files.without_leftovers(out),
        progress("reshard (shards)", count, lambda: Reading(len(files.list_files(out, "_stats.json")))),
    ):
        job = _build(shards, names, len(members), out, options, name_format)
        engine.run_job(job, -(-len(members) // PAIRS_PER_WORKER), beam_args)
    return _finish(out, opened, name_format, {OPTED_OUT: int(is_listed.sum())} if opt_out else {})


def _build(
    shards: str, names: list[str], members: int, out: str, options: ReshardOptions, name_format: str
) -> Callable[[beam.Pipeline], None]:
    members_path = files.join(out, MEMBERS_NAME)

    def build(pipeline: beam.Pipeline) -> None:
        borders = (
            pipeline
            | "Slices of members" >> beam.Create(slices_of(members))
            | "Borders" >> ShardBorders(members_path, members, options.seed, options.shard_size)
        )
        placed = (
            pipeline
            | "Source shards" >> beam.Create(names)
            | "Place rows"
            >> beam.FlatMap(place_rows, shards, members_path, options.seed, AsSingleton(borders)).with_outputs(
                "found", main="rows"
            )
        )
        complete = (
            placed.found
            | "Found" >> beam.CombineGlobally(sum)
            | "All there" >> beam.Map(refuse_missing, shards, names, members_path)
        )
        (
            placed.rows
            | "By output shard" >> beam.GroupByKey()
            | "Write" >> beam.FlatMap(write_shard, shards, out, name_format, AsSingleton(complete))
            | "List" >> ListParts(out)
        )

    return build


def place_rows(
    shard: str, folder: str, members_path: str, seed: int, borders: list[bytes]
) -> Iterator[tuple[int, pa.Table] | TaggedOutput]:
    """A source shard's rows of members by output shard, with their source and order; and their number."""
    rows = read_placed_rows(folder, shard)
    raw = uid_bytes(rows["uid"])
    is_member = find(load_members(members_path), raw)
    yield TaggedOutput("found", int(is_member.sum()))
    rows, keys = rows.filter(pa.array(is_member)), order_keys(raw[is_member], seed)
    rows = rows.append_column(_SOURCE, pa.array([shard] * len(rows), pa.string()))
    rows = rows.append_column(_ORDER, pa.array([key.tobytes() for key in as_raw(keys)], pa.binary()))
    targets = shard_of(keys, borders)
    for target in np.unique(targets).tolist():
        yield target, rows.filter(pa.array(targets == target))


def refuse_missing(found: int, folder: str, names: list[str], members_path: str) -> bool:
    """True when as many rows as members were found; else InputError with the first member not found once."""
    members = load_members(members_path)
    if found == len(members):
        return True
    times = np.zeros(len(members), np.int64)
    for name in names:
        raw = uid_bytes(read_placed_rows(folder, name)["uid"])
        np.add.at(times, np.searchsorted(members, as_strings(raw[find(members, raw)])), 1)
    for wrong, what in ((times == 0, "are missing from"), (times > 1, "stand twice in")):
        if wrong.any():
            uid = uid_strings(as_raw(members[wrong][:1]))[0]
            raise InputError(f"{folder}: {int(wrong.sum())} uids of the subset {what} the shards, the first {uid}")
    return True


def write_shard(
    shard: tuple[int, Iterable[pa.Table]], folder: str, out: str, name_format: str, _complete: bool
) -> Iterator[Part]:
    """Write an output shard (number, rows), its stats file last as the commit mark; yields its parts.

    ``_complete`` only makes the shards wait until all members are known to be there.
    """
    index, pieces = shard
    name = name_format.format(index)
    tar, parquet, stats = (files.join(out, f"{name}{suffix}") for suffix in (".tar", ".parquet", "_stats.json"))
    if not files.exists(stats):
        rows = pa.concat_tables(pieces, promote_options="permissive").sort_by(_ORDER)
        _refuse_repeated(rows, folder)
        tar_digest, offsets = copy_samples(rows, folder, tar)
        rows = rows.drop_columns([_SOURCE, _ORDER])
        rows = rows.set_column(rows.schema.get_field_index("tar_offset"), "tar_offset", pa.array(offsets, pa.int64()))
        tables.write_table(rows, tables.SHARDS, parquet, columns=["uid", "key", "tar_offset", "tar_size"])
        digests = {"tar_sha256": tar_digest, "rows_digest": tables.content_digest(parquet)}
        content = {"count": len(rows), "successes": len(rows), "failed_to_download": 0, "failed_to_resize": 0}
        files.write_bytes(stats, json.dumps(content | digests, indent=1).encode() + b"\n")
    content = json.loads(files.read_bytes(stats))
    yield Part(files.name_of(tar), content["tar_sha256"], 0)
    yield Part(files.name_of(parquet), content["rows_digest"], content["count"])


def copy_samples(rows: pa.Table, folder: str, tar: str) -> tuple[str, list[int]]:
    """Write ``tar`` from the samples of ``rows``, in their order; returns its SHA-256 and their offsets."""
    digest, offsets, offset = hashlib.sha256(), [], 0
    with files.atomic_write(tar) as stream:
        for data in _read_samples(rows, folder):
            offsets.append(offset)
            offset += stream.write(data)
            digest.update(data)
        stream.write(END_OF_ARCHIVE)
        digest.update(END_OF_ARCHIVE)
    return digest.hexdigest(), offsets


def _read_samples(rows: pa.Table, folder: str) -> Iterator[bytes]:
    fs, root = files.filesystem(folder)
    for batch in rows.select(["key", _SOURCE, "tar_offset", "tar_size"]).to_batches(COPIED_AT_A_TIME):
        keys, sources, starts, sizes = (column.to_pylist() for column in batch.columns)
        paths = [files.join(root, f"{source}.tar") for source in sources]
        ends = [start + size for start, size in zip(starts, sizes, strict=True)]
        samples = fs.cat_ranges(paths, starts, ends, on_error="raise")
        for key, path, start, size, data in zip(keys, paths, starts, sizes, samples, strict=True):
            if len(data) != size or not data.startswith(f"{key}.".encode()):
                raise InputError(
                    f"{path}: no sample {key} at byte {start}; the tar is not the one its Parquet describes"
                )
            yield data


def _refuse_repeated(rows: pa.Table, folder: str) -> None:
    uids, sources = rows["uid"].to_pylist(), rows[_SOURCE].to_pylist()
    for index in range(1, len(uids)):
        if uids[index] == uids[index - 1]:
            where = f"{sources[index - 1]} and {sources[index]}"
            raise InputError(f"{folder}: uid {uids[index]} stands in the shards twice, in {where}")


def _finish(out: str, opened: Manifest, name_format: str, opted_out: dict[str, int]) -> Manifest:
    """Write what open_clip (sizes.json) and DataComp's trainer (meta.json) look for, and close the folder."""
    parts = read_parts(out)
    sizes = {part.name.replace(".parquet", ".tar"): part.rows for part in parts if part.name.endswith(".parquet")}
    meta = {"output_shard_count": len(sizes), "output_shard_format": f"{name_format}.tar"}
    files.write_bytes(files.join(out, "sizes.json"), json.dumps(sizes, indent=1).encode() + b"\n")
    files.write_bytes(files.join(out, "meta.json"), json.dumps(meta, indent=1).encode() + b"\n")
    fs, members_path = files.filesystem(files.join(out, MEMBERS_NAME))
    fs.rm(members_path)
    counts = {"pairs": sum(sizes.values()), "shards": len(sizes), **opted_out}
    return manifest.finish(out, opened, counts, folder_digest(parts))


if __name__ == "__main__":
    # By its own name: worker processes cannot find what a module called __main__ defines.
    from pipelines import reshard

    raise SystemExit(run_command(reshard.run, ("shards", "subset", "out"), ReshardOptions))
