"""Write the members of a subset as shards of their own, in a seeded order, samples copied byte for byte.

    members -> the output shards' borders            (order.py, in the driver)
    source shards -> members' rows by output shard -> OUT/NNNNN.tar, .parquet, _stats.json

Rows cross the shuffle, images do not: whoever writes a shard reads each sample's bytes from its source tar.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import AsSingleton, TaggedOutput

from clipsieve.pipelines.engine import runner
from clipsieve.pipelines.engine.parts import ListParts, Part, folder_digest, read_parts
from clipsieve.pipelines.reshard.copies import Ranges, copy_samples
from clipsieve.pipelines.reshard.order import copies_of, find_borders, order_keys, shard_of
from clipsieve.pipelines.reshard.repack import repack_samples
from clipsieve.pipelines.shards.rows import read_placed_rows
from clipsieve.schemas import files, manifest, strict_json, tables
from clipsieve.schemas.counts import ReshardCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.members import as_raw, as_strings, count, find, load_members, read_subset, write_members
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.options import ReshardOptions
from clipsieve.schemas.progress import Reading, progress
from clipsieve.schemas.shards import list_shards, naming_of, tar_of
from clipsieve.schemas.uid import uid_bytes, uid_strings

PAIRS_PER_WORKER = 20_000
"""Pairs whose copying is worth the seconds in which a worker process starts."""
MEMBERS_NAME = "_members.npy"
BORDERS_NAME = "_borders.npy"
_SOURCE = "source_shard"
_ORDER = "order"
_COPY = "copy"


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
    file ``opt_out`` lists are left out, and counted. A member that the subset has k times is written k times, under
    as many keys. Raises InputError when members are missing from the shards, unless these are allowed, or stand in
    them twice, or for a list with URLs or domains that neither the shards nor the subset were made with.
    """
    names = list_shards(shards)
    members, listed = read_subset(subset), load_opt_out(opt_out)
    listed.expect_applied(manifest.read_manifest(shards), manifest.read_manifest(posixpath.dirname(subset)))
    is_listed = listed.forbids_uids(as_raw(members))
    members = members[~is_listed]
    if not len(members):
        why = "opted out as a whole" if len(is_listed) else "empty"
        raise InputError(f"{subset}: the subset is {why}; there is nothing to write")
    inputs = {"shards": manifest.input_digest(shards), **listed.inputs}
    with only_writer(out):
        opened = manifest.begin(out, options, inputs, subsets=[manifest.weighted_subset(subset)])
        if opened.complete:
            return opened
        write_members(members, files.join(out, MEMBERS_NAME))
        write_members(find_borders(members, options.seed, options.shard_size), files.join(out, BORDERS_NAME))
        shard_count = -(-len(members) // options.shard_size)
        with (
            manifest.withdrawn_if_empty(out),
            files.without_leftovers(out),
            progress("reshard (shards)", shard_count, lambda: Reading(len(files.list_files(out, "_stats.json")))),
        ):
            job = _build(shards, names, out, options, _name_format(shard_count))
            runner.run_job(job, -(-len(members) // PAIRS_PER_WORKER), beam_args)
        expected = len(members) if options.allow_missing else None
        opted_out = int(is_listed.sum()) if opt_out else None
        return _finish(out, opened, _name_format(shard_count), expected, opted_out)


def _name_format(shard_count: int) -> str:
    return f"{{:0{max(5, len(str(shard_count - 1)))}d}}"


def _build(
    shards: str, names: list[str], out: str, options: ReshardOptions, name_format: str
) -> Callable[[beam.Pipeline], None]:
    def build(pipeline: beam.Pipeline) -> None:
        placed = (
            pipeline
            | "Source shards" >> beam.Create(names)
            | "Place rows" >> beam.ParDo(PlaceRows(shards, out, options.seed)).with_outputs("found", main="rows")
        )
        found = (
            placed.found
            | "Found" >> beam.CombineGlobally(sum).without_defaults()
            | "All there" >> beam.Map(refuse_missing, shards, names, out, options.allow_missing)
        )
        (
            placed.rows
            | "By output shard" >> beam.GroupByKey()
            | "Write" >> beam.FlatMap(write_shard, shards, out, name_format, AsSingleton(found))
            | "List" >> ListParts(out)
        )

    return build


class PlaceRows(beam.DoFn):
    """A source shard -> its rows of members by output shard, with source, order and copy; and, as ``found``, how
    many there are for each output shard, int64[shards]."""

    def __init__(self, folder: str, out: str, seed: int) -> None:
        self.folder = folder
        self.out = out
        self.seed = seed

    def setup(self) -> None:
        self.members = load_members(files.join(self.out, MEMBERS_NAME))
        self.borders = load_members(files.join(self.out, BORDERS_NAME))

    def process(self, shard: str) -> Iterator[tuple[int, pa.Table] | TaggedOutput]:
        rows = read_placed_rows(self.folder, shard)
        raw = uid_bytes(rows["uid"])
        index, copies = copies_of(count(self.members, raw))
        keys = order_keys(raw[index], copies, self.seed)
        targets = shard_of(keys, self.borders)
        yield TaggedOutput("found", np.bincount(targets, minlength=len(self.borders) + 1))
        by_target = np.argsort(targets, kind="stable")
        for part in np.split(by_target, np.flatnonzero(np.diff(targets[by_target])) + 1 if len(index) else []):
            if len(part):
                # Taken, not sliced: what crosses a shuffle is pickled, and a slice would take all the rows with it.
                placed = rows.take(pa.array(index[part]))
                placed = placed.append_column(_SOURCE, pa.array([shard] * len(part), pa.string()))
                placed = placed.append_column(_ORDER, pa.array([k.tobytes() for k in as_raw(keys[part])], pa.binary()))
                yield int(targets[part[0]]), placed.append_column(_COPY, pa.array(copies[part]))


def refuse_missing(found: np.ndarray, folder: str, names: list[str], out: str, allow_missing: bool) -> np.ndarray:
    """``found`` when as many rows as members were found, or fewer may be; else InputError with the first one amiss."""
    members = load_members(files.join(out, MEMBERS_NAME))
    total = int(found.sum())
    if total == len(members) or (allow_missing and 0 < total < len(members)):
        return found
    distinct = np.unique(members)
    times = np.zeros(len(distinct), np.int64)
    for name in names:
        raw = uid_bytes(read_placed_rows(folder, name)["uid"])
        np.add.at(times, np.searchsorted(distinct, as_strings(raw[find(distinct, raw)])), 1)
    for wrong, what, hint in (
        (times > 1, "are duplicated in the shards", ""),
        (times == 0, "are missing from the shards", "; `allow_missing` leaves them out, unless none is left"),
    ):
        if wrong.any():
            first = uid_strings(as_raw(distinct[wrong][:1]))[0]
            raise InputError(f"{folder}: {int(wrong.sum())} uids of the subset {what}, the first {first}{hint}")
    return found


def write_shard(
    shard: tuple[int, Iterable[pa.Table]], folder: str, out: str, name_format: str, found: np.ndarray
) -> Iterator[Part]:
    """Write an output shard (number, rows), its stats file last as the commit mark; yields its parts.

    ``found`` are all shards' numbers of samples: one without any gets no name, so that names have no gap.
    """
    index, pieces = shard
    name = name_format.format(np.count_nonzero(found[:index]))
    tar, parquet, stats = (files.join(out, f"{name}{suffix}") for suffix in (".tar", ".parquet", "_stats.json"))
    if not files.exists(stats):
        rows = pa.concat_tables(pieces, promote_options="permissive").sort_by(_ORDER)
        ranges, naming = _ranges(rows, folder), naming_of(folder)
        if naming is None:
            digest, offsets, sizes = copy_samples(ranges, tar), ranges.offsets, ranges.sizes
        else:
            digest, offsets, sizes = repack_samples(ranges, naming, tar)
        rows = rows.drop_columns([_SOURCE, _ORDER, _COPY])
        for column, values in (("key", ranges.new_keys), ("tar_offset", offsets), ("tar_size", sizes)):
            rows = rows.set_column(rows.schema.get_field_index(column), column, pa.array(values))
        tables.write_table(rows, tables.SHARDS, parquet, columns=["uid", "key", "tar_offset", "tar_size"])
        digests = {"tar_xxh3": digest, "rows_digest": tables.content_digest(parquet)}
        content = {"count": len(rows), "successes": len(rows), "failed_to_download": 0, "failed_to_resize": 0}
        files.write_bytes(stats, strict_json.dumps(content | digests, indent=1).encode() + b"\n")
    content = json.loads(files.read_bytes(stats))
    yield Part(files.name_of(tar), content["tar_xxh3"], 0)
    yield Part(files.name_of(parquet), content["rows_digest"], content["count"])


def _ranges(rows: pa.Table, folder: str) -> Ranges:
    """Where the samples of an output shard's rows lie, and their new keys: of a pair's further copies KEY-1, KEY-2.

    Other tools' keys need not be unique among tars, nor such as clipsieve's own shards have: there uids are the keys.
    """
    sources, keys, copies = (rows[name].to_pylist() for name in (_SOURCE, "key", _COPY))
    bases = keys if naming_of(folder) is None else rows["uid"].to_pylist()
    new_keys = pa.array(
        [f"{base}-{copy}" if copy else base for base, copy in zip(bases, copies, strict=True)], pa.string()
    )
    for what, name, values in (("uid", "uid", rows[_ORDER]), ("key", "key", new_keys)):
        first = _first_repeated(values)
        if first is not None:
            same = pc.indices_nonzero(pc.equal(values, values[first])).to_pylist()
            where = " and ".join(sources[index] for index in same[:2])
            raise InputError(f"{folder}: {what} {rows[name][first]} stands in the shards twice, in {where}")
    paths = [tar_of(folder, source) for source in sources]
    starts, sizes = (rows[name].to_numpy() for name in ("tar_offset", "tar_size"))
    return Ranges(paths, keys, starts, sizes, new_keys.to_pylist())


def _first_repeated(values: pa.Array | pa.ChunkedArray) -> int | None:
    """Index of the first value that stands again further on; None where all differ."""
    counts = pc.value_counts(values)
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    return pc.index(values, repeated[0]).as_py() if len(repeated) else None


def _finish(out: str, opened: Manifest, name_format: str, expected: int | None, opted_out: int | None) -> Manifest:
    """Write what open_clip (sizes.json) and DataComp's trainer (meta.json) look for, and close the folder.

    ``expected`` is the number of members where some may be missing.
    """
    parts = read_parts(out)
    sizes = {part.name.replace(".parquet", ".tar"): part.rows for part in parts if part.name.endswith(".parquet")}
    meta = {"output_shard_count": len(sizes), "output_shard_format": f"{name_format}.tar"}
    files.write_bytes(files.join(out, "sizes.json"), strict_json.dumps(sizes, indent=1).encode() + b"\n")
    files.write_bytes(files.join(out, "meta.json"), strict_json.dumps(meta, indent=1).encode() + b"\n")
    files.remove(*(files.join(out, name) for name in (MEMBERS_NAME, BORDERS_NAME)))
    pairs = sum(sizes.values())
    missing = None if expected is None else expected - pairs
    counts = ReshardCounts(pairs=pairs, shards=len(sizes), missing=missing, opted_out=opted_out)
    return manifest.finish(out, opened, counts, folder_digest(parts))
