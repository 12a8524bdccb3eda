"""What a folder says of its files, after some were changed: list of parts, dead letters, sizes, counts and digest.

All of it follows from the files as they are now, so that doing it twice is as doing it once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from clipsieve.pipelines.download import totals
from clipsieve.pipelines.download.dead_letters import write_dead_letters
from clipsieve.pipelines.download.passes import shards_by_pass
from clipsieve.pipelines.drift.verdicts import count_verdicts
from clipsieve.pipelines.engine.parts import Part, folder_digest, part_of, read_parts, selection_counts, write_parts
from clipsieve.pipelines.filters.verdicts import count_waterfall, filter_counts
from clipsieve.pipelines.shards.writer import ShardStats, read_stats, stats_path
from clipsieve.pipelines.takedown.plan import TakedownPlan
from clipsieve.schemas import files, strict_json, tables
from clipsieve.schemas.counts import (
    Counts,
    DedupCounts,
    DownloadCounts,
    MemberCounts,
    ReshardCounts,
    ScoreCounts,
    SelectionCounts,
)
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.run import Made
from clipsieve.schemas.stages import Holds
from clipsieve.schemas.threads import map_ahead
from clipsieve.schemas.uid import UID_PATTERN
from clipsieve.schemas.waterfall import read_waterfall, write_waterfall


@dataclass(frozen=True)
class Contents:
    """What a manifest says of a folder's data."""

    counts: Counts
    digest: str
    earlier: tuple[str, ...] = ()
    """The digests of `Manifest.earlier`."""


def contents_of(made: Made, plan: TakedownPlan) -> Contents:
    """List anew what a folder of pairs holds, and count and digest it; ``made`` is as it was before."""
    if made.output.counts is DownloadCounts:
        return _downloaded(made.path, made.manifest)
    touched: Collection[str] = plan.touched[made.name]
    if made.holds is Holds.SHARDS:
        touched = {f"{shard}{suffix}" for shard in touched for suffix in (".tar", ".parquet")}
    parts = _list_parts(made.path, touched)
    return Contents(COUNTS[made.manifest.stage](made, parts), folder_digest(parts))


def _rows(parts: Iterable[Part]) -> dict[str, int]:
    """The rows of each Parquet file, by its name without the suffix."""
    return {part.name.removesuffix(".parquet"): part.rows for part in parts if part.name.endswith(".parquet")}


def _scored(made: Made, parts: Sequence[Part]) -> Counts:
    return made.manifest.counted(ScoreCounts).model_copy(update={"pairs": sum(_rows(parts).values())})


def _resharded(made: Made, parts: Sequence[Part]) -> Counts:
    sizes = {f"{stem}.tar": count for stem, count in _rows(parts).items()}
    files.write_bytes(files.join(made.path, "sizes.json"), strict_json.dumps(sizes, indent=1).encode() + b"\n")
    return made.manifest.counted(ReshardCounts).model_copy(update={"pairs": sum(sizes.values())})


def _selected(made: Made, parts: Sequence[Part]) -> Counts:
    if made.holds is Holds.MEMBERS:
        return MemberCounts(members=_rows(parts))
    before = made.manifest.counted(SelectionCounts)
    now = selection_counts(parts, has_list=before.opted_out is not None)
    return now.model_copy(update={"left_out": {reason: now.left_out.get(reason, 0) for reason in before.left_out}})


def _downloaded(folder: str, made: Manifest) -> Contents:
    passes = shards_by_pass(folder, made)
    stats = [list(map_ahead(lambda name: read_stats(stats_path(folder, name)), names)) for names in passes]
    failures = write_dead_letters(folder, passes)
    digests: list[str] = []
    listed: list[tuple[str, ShardStats]] = []
    for names, of_pass in zip(passes, stats, strict=True):
        listed += zip(names, of_pass, strict=True)
        digests.append(totals.digest(listed))
    return Contents(totals.count(stats, failures), digests[-1], tuple(digests[:-1]))


def _list_parts(folder: str, touched: Collection[str]) -> list[Part]:
    """Write and return the folder's parts, those of ``touched`` files read again."""
    listed = {part.name: part for part in read_parts(folder)}
    changed = [name for name in listed if name in touched or f"{name.rpartition('.')[0]}.parquet" in touched]
    listed |= {part.name: part for part in map_ahead(part_of, (files.join(folder, name) for name in changed))}
    write_parts(listed.values(), folder)
    return sorted(listed.values())


def _compared(made: Made, parts: Sequence[Part]) -> Counts:
    return count_verdicts(files.join(made.path, f"{stem}.parquet") for stem in _rows(parts))


def _filtered(made: Made, parts: Sequence[Part]) -> Counts:
    """Count the rules' verdicts anew, into the waterfall too."""
    paths = [files.join(made.path, f"{stem}.parquet") for stem in _rows(parts)]
    after = count_waterfall(paths, [(rule.reason, rule.text) for rule in read_waterfall(made.path).rules])
    write_waterfall(after, made.path)
    return filter_counts(after)


def _deduplicated(made: Made, parts: Sequence[Part]) -> Counts:
    """Count anew what is kept, and by which method the others were found; an image of a task has no uid."""
    columns, before = ["duplicate_of", "method"], made.manifest.counted(DedupCounts)
    paths = [files.join(made.path, f"{stem}.parquet") for stem in _rows(parts)]
    batches = [batch for path in paths for batch in tables.iter_batches(path, tables.DEDUP, columns)]
    kept_uids = [uid for batch in batches for uid in batch["duplicate_of"].to_pylist()]
    by = Counter(method for batch in batches for method in batch["method"].to_pylist())
    contaminated = sum(uid is not None and not UID_PATTERN.fullmatch(uid) for uid in kept_uids)
    return DedupCounts(
        pairs=len(kept_uids),
        kept=kept_uids.count(None),
        found={method: by[method] for method in before.found},
        contaminated=None if before.contaminated is None else contaminated,
    )


COUNTS: Mapping[str, Callable[[Made, Sequence[Part]], Counts]] = {
    "score": _scored,
    "drift": _compared,
    "filter": _filtered,
    "dedup": _deduplicated,
    "select": _selected,
    "reshard": _resharded,
}
"""What counts the pairs of a folder of each stage anew, from the list of its parts; `download` and `pack` have none."""
