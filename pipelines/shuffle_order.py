"""The seeded order of a subset, cut into output shards: their borders, found by a shuffle of uids alone.

A member's place is its rank by the drawing key, (hash of seed and uid, uid), 24 bytes. Members go to buckets
by their hash's leading bits; a bucket sorts its keys, and, knowing how many lie in the buckets before it,
picks those that begin an output shard. So no step holds more than a bucket, and the order depends on seed and
members alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsDict

from pipelines.thresholds import hash_of
from schemas.members import as_raw, as_strings, load_members

BUCKET_MEMBERS = 1_000_000
SLICE_MEMBERS = 250_000


def order_keys(raw: np.ndarray, seed: int) -> np.ndarray:
    """Uid bytes uint8[N, 16] -> bytes[N] of 24 that sort in the seeded order."""
    hashes = hash_of(raw, seed).astype(">u8").view(np.uint8).reshape(len(raw), 8)
    return as_strings(np.concatenate([hashes, raw], axis=1))


def shard_of(keys: np.ndarray, borders: list[bytes]) -> np.ndarray:
    """int64[N]: the output shard of each order key; ``borders`` are the shards' first keys, but shard 0's."""
    return np.searchsorted(np.array(borders, "S24"), keys, side="right")


class ShardBorders(beam.PTransform):
    """Slices (start, stop) of a members file -> one sorted list of the shards' first keys, but shard 0's."""

    def __init__(self, members_path: str, members: int, seed: int, shard_size: int) -> None:
        super().__init__()
        self.members_path = members_path
        self.buckets = -(-members // BUCKET_MEMBERS)
        self.seed = seed
        self.shard_size = shard_size

    def expand(self, slices: beam.PCollection[tuple[int, int]]) -> beam.PCollection[list[bytes]]:
        buckets = (
            slices
            | "Keys" >> beam.FlatMap(keys_of_slice, self.members_path, self.seed, self.buckets)
            | "By bucket" >> beam.GroupByKey()
            | "Sort" >> beam.MapTuple(lambda bucket, parts: (bucket, np.sort(np.concatenate(list(parts)))))
        )
        counts = buckets | "Count" >> beam.MapTuple(lambda bucket, keys: (bucket, len(keys)))
        return (
            buckets
            | "Pick" >> beam.FlatMap(first_keys, AsDict(counts), self.shard_size)
            | "Gather" >> beam.combiners.ToList()
            | "In order" >> beam.Map(sorted)
        )


def slices_of(members: int) -> list[tuple[int, int]]:
    """Pieces of a members file that a worker hashes at a time."""
    return [(start, min(start + SLICE_MEMBERS, members)) for start in range(0, members, SLICE_MEMBERS)]


def keys_of_slice(
    piece: tuple[int, int], members_path: str, seed: int, buckets: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The order keys of a slice by bucket."""
    keys = order_keys(as_raw(load_members(members_path)[slice(*piece)]), seed)
    leading = as_raw(keys)[:, :4].copy().view(">u4").reshape(-1).astype(np.int64)
    bucket_of = leading * buckets >> 32
    for bucket in np.unique(bucket_of).tolist():
        yield bucket, keys[bucket_of == bucket]


def first_keys(sorted_bucket: tuple[int, np.ndarray], counts: dict[int, int], shard_size: int) -> Iterator[bytes]:
    """The keys of a sorted bucket that begin an output shard but shard 0; ``counts``: buckets' sizes."""
    bucket, keys = sorted_bucket
    before = sum(count for other, count in counts.items() if other < bucket)
    places = np.arange(before, before + len(keys))
    for key in as_raw(keys[(places % shard_size == 0) & (places > 0)]):
        yield key.tobytes()
