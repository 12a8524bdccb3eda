"""What dedup removed, to look at: clusters of a kept pair and its repeats, the largest ones and some drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.evaluation.report.galleries import Card
from clipsieve.evaluation.report.scored_pool import ScoredPair
from clipsieve.schemas import files, tables
from clipsieve.schemas.counts import DedupCounts
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.uid import UID_PATTERN

LARGEST, DRAWN = 6, 6
"""Clusters of either kind."""
SHOWN = 5
"""Repeats of a cluster that have a picture."""


@dataclass(frozen=True)
class Repeat:
    """A removed pair, and the method that found it."""

    pair: ScoredPair
    method: str


@dataclass(frozen=True)
class Cluster:
    """A kept pair with ``count`` repeats, of which the best scored are ``shown``."""

    kept: ScoredPair
    count: int
    shown: tuple[Repeat, ...]


@dataclass(frozen=True)
class Clusters:
    """The clusters of a run; ``counts`` are those of dedup's manifest."""

    counts: DedupCounts
    largest: tuple[Cluster, ...]
    drawn: tuple[Cluster, ...]

    @property
    def pairs(self) -> list[ScoredPair]:
        """All pairs that have a picture."""
        every = (*self.largest, *self.drawn)
        return [pair for cluster in every for pair in (cluster.kept, *(repeat.pair for repeat in cluster.shown))]


@dataclass(frozen=True)
class ClusterView:
    """A cluster's cards, each repeat's with its method."""

    kept: Card
    count: int
    shown: tuple[tuple[Card, str], ...]


@dataclass(frozen=True)
class DedupView:
    """The report's section; ``counts`` are those of dedup's manifest."""

    counts: DedupCounts
    largest: list[ClusterView]
    drawn: list[ClusterView]


def read_clusters(run_dir: str, made: Manifest) -> Clusters:
    """The clusters of ``run_dir``/dedup, whose finished manifest is ``made``.

    Drawn are those whose kept uid has the smallest SHA-256. Repeats of an image of a task, or of a pair that was taken
    down, have no picture to stand next to and are counted alone.
    """
    paths = files.list_files(files.join(run_dir, "dedup"), ".parquet")
    sizes: Counter[str] = Counter()
    for path in paths:
        kept = tables.read_table(path, tables.DEDUP, ["duplicate_of"])["duplicate_of"].drop_null()
        for value in pc.value_counts(kept).to_pylist():
            sizes[value["values"]] += value["counts"]
    sizes = Counter({uid: count for uid, count in sizes.items() if UID_PATTERN.fullmatch(uid)})
    largest = sorted(sizes, key=lambda uid: (-sizes[uid], uid))[:LARGEST]
    drawn = sorted(sizes.keys() - set(largest), key=files.sha256_text)[:DRAWN]
    pairs, repeats = _read_pairs(run_dir, paths, {*largest, *drawn})
    clusters = {uid: Cluster(pairs[uid], sizes[uid], _best(repeats[uid])) for uid in pairs}
    return Clusters(
        made.counted(DedupCounts),
        tuple(clusters[uid] for uid in largest if uid in clusters),
        tuple(clusters[uid] for uid in drawn if uid in clusters),
    )


def dedup_view(clusters: Clusters, cards: Mapping[str, Card]) -> DedupView:
    largest, drawn = ([_view(each, cards) for each in some] for some in (clusters.largest, clusters.drawn))
    return DedupView(clusters.counts, largest, drawn)


def _view(cluster: Cluster, cards: Mapping[str, Card]) -> ClusterView:
    shown = tuple((cards[repeat.pair.uid], repeat.method) for repeat in cluster.shown)
    return ClusterView(cards[cluster.kept.uid], cluster.count, shown)


def _best(repeats: Iterable[Repeat]) -> tuple[Repeat, ...]:
    return tuple(sorted(repeats, key=lambda repeat: (-repeat.pair.similarity, repeat.pair.uid))[:SHOWN])


def _read_pairs(
    run_dir: str, paths: list[str], wanted: set[str]
) -> tuple[dict[str, ScoredPair], dict[str, list[Repeat]]]:
    """The pairs of the ``wanted`` uids, by uid, and the repeats of each."""
    pairs: dict[str, ScoredPair] = {}
    repeats: dict[str, list[Repeat]] = {uid: [] for uid in wanted}
    uids = pa.array(sorted(wanted), pa.string())
    for path in paths:
        name = files.name_of(path)
        rows = tables.read_table(path, tables.DEDUP)
        is_shown = pc.or_(pc.is_in(rows["uid"], uids), pc.is_in(rows["duplicate_of"], uids))
        scored = tables.read_table(files.join(run_dir, "selection", name), tables.SELECTION)
        for row, of in zip(rows.filter(is_shown).to_pylist(), scored.filter(is_shown).to_pylist(), strict=True):
            file = name.removesuffix(".parquet")
            pair = ScoredPair(row["uid"], of["similarity"], of["sample_rank"], file, None)
            if row["uid"] in wanted:
                pairs[pair.uid] = pair
            else:
                repeats[row["duplicate_of"]].append(Repeat(pair, row["method"]))
    return pairs, repeats
