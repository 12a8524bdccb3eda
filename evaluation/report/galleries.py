"""The pairs that the report shows, with a thumbnail each; only the bytes of those few samples are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from clipsieve.evaluation.pages.thumbnails import shorten, thumbnail
from clipsieve.evaluation.report.scored_pool import ScoredPair, ScoredPool
from clipsieve.schemas import files, samples, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.images import decode_sample
from clipsieve.schemas.ranges import RangeReader
from clipsieve.schemas.samples import Sample
from clipsieve.schemas.shards import naming_of, tar_of


@dataclass(frozen=True)
class Card:
    """A pair as it is shown; ``image`` is a data URI, ``place`` is SHARD/KEY."""

    uid: str
    similarity: float
    caption: str
    image: str
    width: int
    height: int
    place: str
    swapped: bool


def make_cards(run_dir: str, pool: ScoredPool, others: Iterable[ScoredPair] = ()) -> dict[str, Card]:
    """The cards, by uid, of ``others`` and of all pairs that the pool's bands and borders show."""
    shown = {pair.uid: pair for pair in others} | {pair.uid: pair for band in pool.bands for pair in band.drawn}
    for border in pool.borders:
        shown |= {pair.uid: pair for pair in (*border.above, *border.below)}
    places, folder = _places(run_dir, shown.values()), files.join(run_dir, "shards")
    cards = {}
    for shard in sorted({shard for shard, _ in places}):
        keys = {key: pair for (name, key), pair in places.items() if name == shard}
        tar = tar_of(folder, shard)
        for sample in _samples(folder, shard, set(keys)):
            if sample.key in keys:
                pair = keys[sample.key]
                cards[pair.uid] = _card(pair, sample, tar, f"{shard}/{sample.key}")
    _refuse_missing(run_dir, shown, cards)
    return cards


def _places(run_dir: str, pairs: Iterable[ScoredPair]) -> dict[tuple[str, str], ScoredPair]:
    """Each pair by the shard and the key under which its sample lies."""
    by_file: dict[str, dict[str, ScoredPair]] = {}
    for pair in pairs:
        by_file.setdefault(pair.file, {})[pair.uid] = pair
    places = {}
    for file, wanted in sorted(by_file.items()):
        path = files.join(run_dir, "scores", f"{file}.parquet")
        for row in tables.read_table(path, tables.SCORES, ["uid", "shard", "key"]).to_pylist():
            if row["uid"] in wanted:
                places[row["shard"], row["key"]] = wanted[row["uid"]]
    return places


def _samples(folder: str, shard: str, keys: set[str]) -> Iterator[Sample]:
    """The samples of ``keys``, by the offsets in the shard's Parquet; where it has none, all of the tar's."""
    tar, parquet = tar_of(folder, shard), files.join(folder, f"{shard}.parquet")
    with tables.open_parquet(parquet) as file:
        has_offsets = {"tar_offset", "tar_size"} <= set(file.schema_arrow.names)
    if not has_offsets:
        yield from samples.iter_samples(tar)
        return
    rows = tables.read_table(parquet, tables.SHARDS, ["key", "tar_offset", "tar_size"]).to_pylist()
    places = [(tar, row["tar_offset"], row["tar_size"]) for row in rows if row["key"] in keys]
    yield from samples.read_samples(places, RangeReader(), naming_of(folder))


def _card(pair: ScoredPair, sample: Sample, tar: str, place: str) -> Card:
    image, width, height = thumbnail(decode_sample(sample, tar))
    return Card(
        uid=pair.uid,
        similarity=pair.similarity,
        caption=shorten(sample.caption),
        image=image,
        width=width,
        height=height,
        place=place,
        swapped=bool(pair.swapped),
    )


def _refuse_missing(run_dir: str, shown: Mapping[str, ScoredPair], cards: Mapping[str, Card]) -> None:
    missing = sorted(shown.keys() - cards.keys())
    if missing:
        row = f"selection/{shown[missing[0]].file}.parquet"
        raise InputError(
            f"{run_dir}/shards: no sample of uid {missing[0]}, which is in {row}; "
            "run `clipsieve score` and `clipsieve select` on these shards again"
        )
