"""The pairs as dedup compares them: a few numbers of each, in rank order, from score files and shards."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.pipelines.select.thresholds import descending_key
from clipsieve.pipelines.shards.rows import read_placed_rows, read_rows
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.shards import tar_of
from clipsieve.schemas.uid import uid_bytes

_HASHES = {"sha256": 64, "phash": 16}
"""Columns of the shards, and their hex digits; of a sha256 the first half is compared."""
_COMPARED = {"exact": "sha256", "perceptual": "phash"}


@dataclass(frozen=True)
class Pairs:
    """N pairs, in any order."""

    raw_uids: np.ndarray
    """uint8[N, 16]"""
    similarity: np.ndarray
    """float32[N]"""
    sha256: np.ndarray
    """bytes S16[N]: the first 128 bits; empty where the shard has none."""
    phash: np.ndarray
    """uint64[N]"""
    has_phash: np.ndarray
    """bool[N]"""
    tars: tuple[str, ...]
    """The paths of the tars that hold the images."""
    places: np.ndarray
    """int64[N, 3]: the number of the pair's tar, and its sample's offset and size there; zeros where not requested."""

    def __len__(self) -> int:
        return len(self.similarity)

    def rank_order(self) -> np.ndarray:
        """int64[N]: the pairs from the best scored down, ties to the smaller uid."""
        upper, lower = np.ascontiguousarray(self.raw_uids).view(">u8").reshape(-1, 2).T
        return np.lexsort((lower, upper, descending_key(self.similarity)))


def lacks_hashes(scores: str, shards: str, methods: Sequence[str]) -> bool:
    """Whether the shards of a score file's first pair lack hashes that ``methods`` compare, as img2dataset's may."""
    needed = {_COMPARED[method] for method in methods if method in _COMPARED}
    first = next(tables.iter_batches(scores, tables.SCORES, ["shard"]), None)
    return first is not None and not needed <= set(read_rows(shards, first["shard"][0].as_py()).schema.names)


def read_pairs(scores: str, shards: str, is_placed: bool, hashed: str | None = None) -> Pairs:
    """The pairs of the score file at ``scores``, in its order, with their hashes from the folder ``shards``.

    ``is_placed`` asks for their places, too; where the shards' tables do not have them their tars are scanned.

    A column that a shard lacks (img2dataset writes no phash) has the values in ``hashed``, the path of `HASHES`[N], or
    is empty. Raises InputError for a pair that is not in its shard, and a similarity that is not a finite number.
    """
    rows = tables.read_table(scores, tables.SCORES, ["uid", "shard", "key", "similarity"])
    similarity = rows["similarity"].to_numpy()
    if not np.isfinite(similarity).all():
        raise InputError(f"{scores}: row {int(np.argmin(np.isfinite(similarity))) + 1}: its similarity is not finite")
    hashes = {name: np.full(len(rows), None, object) for name in _HASHES}
    names, located = pc.unique(rows["shard"]).to_pylist(), np.zeros((len(rows), 3), np.int64)
    for number, shard in enumerate(names):
        here = pc.equal(rows["shard"], shard).to_numpy()
        of_shard = (read_placed_rows if is_placed else read_rows)(shards, shard)
        places = pc.index_in(rows["key"].filter(pa.array(here)), value_set=of_shard["key"].combine_chunks())
        if places.null_count:
            raise InputError(f"{scores}: {places.null_count} samples are not in {shards}/{shard}; score these shards")
        for name in _HASHES:
            if name in of_shard.schema.names:
                hashes[name][here] = of_shard[name].take(places).to_numpy()
        if is_placed:
            located[here, 0] = number
            for column, name in enumerate(("tar_offset", "tar_size"), 1):
                located[here, column] = of_shard[name].take(places).to_numpy()
    sha256, phash = (_as_bytes(values, name, scores) for name, values in hashes.items())
    has_sha256, has_phash = (np.array([value is not None for value in hashes[name]], bool) for name in _HASHES)
    first_half = np.ascontiguousarray(sha256[:, :16]).view("S16").ravel()
    perceptual = phash.view(">u8").ravel().astype(np.uint64)
    if hashed is not None:
        computed = np.load(io.BytesIO(files.read_bytes(hashed)), allow_pickle=False)
        first_half = np.where(has_sha256, first_half, computed["sha256"])
        perceptual, has_phash = np.where(has_phash, perceptual, computed["phash"]), np.ones(len(rows), bool)
    return Pairs(
        uid_bytes(rows["uid"]),
        similarity,
        first_half,
        perceptual,
        has_phash,
        tuple(tar_of(shards, name) for name in names),
        located,
    )


def concatenate(parts: Sequence[Pairs]) -> Pairs:
    before = np.cumsum([0, *(len(part.tars) for part in parts)])
    places = [shifted(part.places, int(number)) for part, number in zip(parts, before[:-1], strict=True)]
    tars = tuple(tar for part in parts for tar in part.tars)
    names = ("raw_uids", "similarity", "sha256", "phash", "has_phash")
    raw_uids, similarity, sha256, phash, has_phash = (
        np.concatenate([getattr(part, name) for part in parts]) for name in names
    )
    return Pairs(raw_uids, similarity, sha256, phash, has_phash, tars, np.concatenate(places))


def shifted(places: np.ndarray, tars: int) -> np.ndarray:
    """`Pairs.places` whose tars stand after so many others."""
    return places + np.array([tars, 0, 0])


def score_files(scores: str) -> list[str]:
    paths = files.list_files(scores, ".parquet")
    if not paths:
        raise InputError(f"{scores}: no scores (*.parquet) in this folder")
    return paths


def _as_bytes(values: np.ndarray, name: str, path: str) -> np.ndarray:
    """Hex strings or None, object[N] -> uint8[N, B], zeros where None."""
    digits = _HASHES[name]
    text = "".join("0" * digits if value is None else value for value in values)
    try:
        return np.frombuffer(bytes.fromhex(text), np.uint8).reshape(len(values), digits // 2)
    except ValueError as error:
        raise InputError(f"{path}: the {name} of a pair in its shard is not {digits} hex digits") from error
