"""What a folder says of its files, after some were changed: list of parts, dead letters, sizes, counts and digest.

All of it follows from the files as they are now, so that doing it twice is as doing it once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clipsieve.pipelines.download import job as download
from clipsieve.pipelines.download.dead_letters import write_dead_letters
from clipsieve.pipelines.download.passes import shards_by_pass
from clipsieve.pipelines.engine.parts import Part, folder_digest, part_of, read_parts, write_parts
from clipsieve.pipelines.filters.verdicts import count_waterfall
from clipsieve.pipelines.shards.writer import ShardStats, read_stats, stats_path
from clipsieve.pipelines.takedown.plan import Plan
from clipsieve.schemas import files, tables
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.threads import map_ahead
from clipsieve.schemas.uid import UID_PATTERN
from clipsieve.schemas.waterfall import read_waterfall, write_waterfall


@dataclass(frozen=True)
class Contents:
    """What a manifest says of a folder's data."""

    counts: dict[str, int]
    digest: str
    earlier: tuple[str, ...] = ()
    """The digests of `Manifest.earlier`."""


def contents_of(run_dir: str, name: str, made: Manifest, plan: Plan) -> Contents:
    """List anew what the folder ``name`` holds, and count and digest it; ``made`` is its manifest from before."""
    folder, touched = files.join(run_dir, name), plan.touched[name]
    if made.stage == "download":
        return _downloaded(folder, made)
    if made.stage == "reshard":
        touched = {f"{shard}{suffix}": pairs for shard, pairs in touched.items() for suffix in (".tar", ".parquet")}
    parts = _list_parts(folder, touched)
    digest = folder_digest(parts)
    rows = {part.name.rpartition(".")[0]: part.rows for part in parts if part.name.endswith(".parquet")}
    pairs = sum(rows.values())
    if made.stage == "reshard":
        sizes = {f"{stem}.tar": count for stem, count in rows.items()}
        files.write_bytes(files.join(folder, "sizes.json"), json.dumps(sizes, indent=1).encode() + b"\n")
    if made.stage in ("score", "reshard"):
        return Contents(made.counts | {"pairs": pairs}, digest)
    if made.stage == "filter":
        return Contents(made.counts | _filtered(folder, [f"{stem}.parquet" for stem in rows]), digest)
    if made.stage == "dedup":
        return Contents(made.counts | _deduplicated(folder, list(rows), made), digest)
    left_out = sum((Counter(part.left_out) for part in parts), Counter())
    known = {"pairs": pairs, "eligible": pairs - left_out.total(), **rows}
    return Contents({key: known.get(key, left_out[key]) for key in made.counts}, digest)


def _downloaded(folder: str, made: Manifest) -> Contents:
    passes = shards_by_pass(folder, made)
    stats = [list(map_ahead(lambda name: read_stats(stats_path(folder, name)), names)) for names in passes]
    failures = write_dead_letters(folder, passes)
    digests: list[str] = []
    listed: list[tuple[str, ShardStats]] = []
    for names, of_pass in zip(passes, stats, strict=True):
        listed += zip(names, of_pass, strict=True)
        digests.append(download.digest(listed))
    return Contents(download.count(stats, failures), digests[-1], tuple(digests[:-1]))


def _list_parts(folder: str, touched: Collection[str]) -> list[Part]:
    """Write and return the folder's parts, those of ``touched`` files read again."""
    listed = {part.name: part for part in read_parts(folder)}
    changed = [name for name in listed if name in touched or f"{name.rpartition('.')[0]}.parquet" in touched]
    listed |= {part.name: part for part in map_ahead(part_of, (files.join(folder, name) for name in changed))}
    write_parts(listed.values(), folder)
    return sorted(listed.values())


def _filtered(folder: str, names: Sequence[str]) -> dict[str, int]:
    """Count the rules' verdicts anew, into the waterfall too."""
    before = read_waterfall(folder)
    if before is None:
        return {}
    paths = [files.join(folder, name) for name in names]
    after = count_waterfall(paths, [(rule.reason, rule.text) for rule in before.rules])
    write_waterfall(after, folder)
    return {"pairs": after.pairs, "kept": after.kept} | {rule.reason: rule.in_order for rule in after.rules}


def _deduplicated(folder: str, stems: Sequence[str], made: Manifest) -> dict[str, int]:
    """Count anew what is kept, and by which method the others were found; an image of a task has no uid."""
    columns = ["duplicate_of", "method"]
    paths = [files.join(folder, f"{stem}.parquet") for stem in stems]
    batches = [batch for path in paths for batch in tables.iter_batches(path, tables.DEDUP, columns)]
    kept_uids = [uid for batch in batches for uid in batch["duplicate_of"].to_pylist()]
    by = Counter(method for batch in batches for method in batch["method"].to_pylist())
    contaminated = sum(uid is not None and not UID_PATTERN.fullmatch(uid) for uid in kept_uids)
    known = {"pairs": len(kept_uids), "kept": kept_uids.count(None), "contaminated": contaminated}
    return {name: known.get(name, by[name]) for name in made.counts}
