"""`repeated_caption(MOST)` and `repeated_image(MOST)`: one caption on many images, one image under many captions.

    pairs -> (hash of the one, hash of the other), 8 bytes each
    pass 1: pairs counted by 22 bits of the hash in question -> which of these bins hold more than MOST pairs
    pass 2: the pairs in such bins alone -> shuffled in buckets -> those with more than MOST different partners

A caption or image with more than MOST partners is in such a bin; so pass 2 moves nearly nothing but what repeats
until a pool has tens of millions of pairs, and 16 bytes a pair beyond. The bins take 32 MiB, whatever the pool's
size, and the answer 8 bytes for each caption or image that repeats too often.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import AsSingleton

from clipsieve.pipelines.filters.columns import PairColumns, Rows
from clipsieve.pipelines.pairs.duplicates import bucket_count, split_buckets
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.text_buffers import text_bytes

BIN_BITS = 22
_HASH_BYTES = 8


@dataclass(frozen=True)
class Bins:
    """What the first pass finds: the bins that hold too many pairs, and how many pairs there are in all."""

    crowded: np.ndarray
    """bool[2**22]"""
    pairs: int


@dataclass(frozen=True)
class Repeated:
    """Rejects what has more than ``most`` different partners."""

    most: int

    columns: ClassVar[tuple[str, ...]] = ("caption", "sha256")
    subject: ClassVar[int]
    """Which column of `pair_hashes` repeats."""

    def check(self, pool: PairColumns) -> None:
        if not isinstance(self.most, int) or self.most < 1:
            raise InputError(f"rule: at most {self.most!r} different partners is no whole number from 1 on")

    def survey(self, score_files: beam.PCollection[str], pool: PairColumns, out: str) -> beam.PCollection[np.ndarray]:
        bins = (
            score_files
            | "Count" >> beam.Map(self.count_file, pool)
            | "Add" >> beam.CombineGlobally(_AddBins())  # type: ignore[no-untyped-call]  # Beam has no type for its constructor
            | "Crowded" >> beam.Map(lambda counts: Bins(counts > self.most, int(counts.sum())))
        )
        return (
            score_files
            | "Suspects" >> beam.FlatMap(self.suspects_of_file, pool, AsSingleton(bins))
            | "Buckets" >> beam.GroupByKey()
            | "Partners" >> beam.MapTuple(lambda _, blocks: find_repeated(blocks, self.most))
            | "Gather" >> beam.CombineGlobally(_gather)
        )

    def rejects(self, rows: Rows, finding: np.ndarray) -> np.ndarray:
        hashes, has_image = pair_hashes(rows)
        return np.isin(hashes[:, self.subject], finding) & has_image

    def count_file(self, path: str, pool: PairColumns) -> tuple[np.ndarray, np.ndarray]:
        """The bins int64[M] that a score file's pairs lie in, and how many in each."""
        hashes, has_image = pair_hashes(pool.read(path, self.columns))
        return np.unique(_bin_of(hashes[has_image, self.subject]), return_counts=True)

    def suspects_of_file(self, path: str, pool: PairColumns, bins: Bins) -> Iterator[tuple[int, bytes]]:
        """Of the pairs in crowded bins (bucket, 16 bytes a pair): the subject's hash, then its partner's."""
        hashes, has_image = pair_hashes(pool.read(path, self.columns))
        pairs = np.roll(hashes[has_image], -self.subject, axis=1)
        pairs = np.unique(pairs[bins.crowded[_bin_of(pairs[:, 0])]], axis=0)
        records = pairs.astype(">u8").view(np.uint8).reshape(-1, 2 * _HASH_BYTES)
        yield from split_buckets(records, bucket_count(bins.pairs)) if len(records) else ()


class RepeatedCaption(Repeated):
    """Rejects pairs whose caption, case and white space apart, is that of more than ``most`` different images."""

    subject = 0


class RepeatedImage(Repeated):
    """Rejects pairs whose image file (its sha256) has more than ``most`` different captions."""

    subject = 1


def pair_hashes(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """uint64[N, 2]: hashes of each pair's caption and of its image; bool[N]: whether the image's is known."""
    captions = [
        hashlib.blake2b(" ".join(text.casefold().split()).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for text in rows.batch["caption"].to_pylist()
    ]
    has_image = rows.batch["sha256"].is_valid()
    images = rows.batch["sha256"].filter(has_image).cast(pa.string())
    digits = text_bytes(images)
    if len(digits) != 64 * len(images):
        raise InputError(f"{rows.path}: column 'sha256' holds a value that is not 64 hex digits")
    raw = np.frombuffer(binascii.unhexlify(digits), np.uint8).reshape(-1, 32)[:, :_HASH_BYTES]
    known = has_image.to_numpy(zero_copy_only=False)
    hashes = np.zeros((len(rows), 2), np.uint64)
    hashes[:, 0] = np.frombuffer(b"".join(captions), ">u8")
    hashes[known, 1] = np.ascontiguousarray(raw).view(">u8").reshape(-1)
    return hashes, known


def find_repeated(blocks: Iterable[bytes], most: int) -> np.ndarray:
    """Blocks of one bucket, in any order -> uint64[M]: the subjects that have more than ``most`` partners."""
    pairs = np.unique(np.frombuffer(b"".join(blocks), ">u8").astype(np.uint64).reshape(-1, 2), axis=0)
    subjects, partners = np.unique(pairs[:, 0], return_counts=True)
    return subjects[partners > most]


class _AddBins(beam.CombineFn):
    """(bins, counts) of files -> int64[2**22]"""

    def create_accumulator(self) -> np.ndarray:
        return np.zeros(1 << BIN_BITS, np.int64)

    def add_input(self, accumulator: np.ndarray, element: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        bins, counts = element
        accumulator[bins] += counts
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return np.sum(list(accumulators), axis=0)

    def extract_output(self, accumulator: np.ndarray) -> np.ndarray:
        return accumulator


def _bin_of(hashes: np.ndarray) -> np.ndarray:
    """uint64[N] -> int64[N] below 2**22"""
    return (hashes >> np.uint64(64 - BIN_BITS)).astype(np.int64)


def _gather(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.sort(np.concatenate([np.zeros(0, np.uint64), *parts]))
