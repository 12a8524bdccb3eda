"""Dedup: the near pairs of embeddings by clusters next to a brute-force product in blocks, and of hashes by bands.

200,000 embeddings of 512 dimensions, or as many as ``CLIPSIEVE_BENCHMARK_EMBEDDINGS`` says, in fp16 on the disk as the
job holds them: clustered vectors, a tenth of them a planted near copy. The brute-force product finds all; what share of
them the clusters find is printed, and how many of 1,000 pairs that they find are false by their true similarity. A
million hashes has no contender: it is `clipsieve`'s own rate.
"""

from __future__ import annotations

import os
import resource
import sys
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.timing import Contender, Row, clocked, compare
from clipsieve.pipelines.dedup.greedy import keep_best
from clipsieve.pipelines.dedup.perceptual import NearHashes
from clipsieve.pipelines.dedup.semantic import NearEmbeddings

EMBEDDINGS = int(os.environ.get("CLIPSIEVE_BENCHMARK_EMBEDDINGS", "200_000"))
HASHES = 1_000_000
WIDTH = 512
MIN_COSINE = 0.95
CHECKED = 1000
_BLOCK = 4096


def run(scratch: Path) -> list[Row]:
    """Rows a second to the table of duplicates; of brute force, to every near pair."""
    stored = _write_embeddings(scratch / "embeddings.npy")
    found: dict[str, np.ndarray] = {}
    work = {
        "clipsieve dedup (semantic)": partial(_by_clusters, stored, found),
        "brute-force product": partial(_by_product, stored, found),
    }
    rows = compare("dedup", "embeddings", [Contender(name, clocked(each)) for name, each in work.items()], runs=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    duplicates = int(found["product"].sum())
    share = np.count_nonzero(found["clusters"] >= 0) / duplicates
    print(
        f"dedup: {share:.4%} of {duplicates:,} duplicates found, {peak:.2f} GiB at most; {_check(stored, found)}",
        file=sys.stderr,
    )
    hashes = _hashes()
    return rows + compare("dedup", "hashes", [Contender("clipsieve (perceptual)", clocked(partial(_by_bands, hashes)))])


def _write_embeddings(path: Path) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(2000, WIDTH)).astype(np.float32)
    stored = np.lib.format.open_memmap(path, "w+", np.float16, (EMBEDDINGS, WIDTH))
    for start in range(0, EMBEDDINGS, _BLOCK):
        block = stored[start : start + _BLOCK]
        vectors = centres[rng.integers(0, len(centres), len(block))] + rng.normal(size=block.shape).astype(np.float32)
        copies = np.arange(len(block) // 10)
        vectors[copies] = vectors[-1 - copies] + rng.normal(0, 0.2, (len(copies), WIDTH))
        block[:] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    stored.flush()
    return np.load(path, "r")


def _unit(stored: np.ndarray, rows: np.ndarray, kind: type[np.floating] = np.float32) -> np.ndarray:
    vectors = stored[rows].astype(kind)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _check(stored: np.ndarray, found: dict[str, np.ndarray]) -> str:
    """How many of `CHECKED` pairs drawn from those of the clusters are false, in words."""
    removed = np.flatnonzero(found["clusters"] >= 0)
    drawn = np.random.default_rng(0).permutation(removed)[:CHECKED]
    pairs = (_unit(stored, rows, np.float64) for rows in (drawn, found["clusters"][drawn]))
    false = int((np.einsum("ij,ij->i", *pairs) < MIN_COSINE).sum())
    return f"of {len(drawn):,} pairs found {false} are false by their cosine in float64"


def _by_clusters(stored: np.ndarray, found: dict[str, np.ndarray], _: Path) -> int:
    finder = NearEmbeddings(np.arange(len(stored)), partial(_unit, stored), MIN_COSINE, seed=0)
    found["clusters"] = keep_best(len(stored), [finder]).duplicate_of
    return len(stored)


def _by_product(stored: np.ndarray, found: dict[str, np.ndarray], _: Path) -> int:
    """Which rows are near an earlier one, by the product of all with all: no clusters, the same memory."""
    near = np.zeros(len(stored), bool)
    for start in range(0, len(stored), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(stored)))
        block = _unit(stored, rows)
        for before in range(0, start + 1, _BLOCK):
            columns = np.arange(before, min(before + _BLOCK, len(stored)))
            is_near = (block @ _unit(stored, columns).T >= MIN_COSINE) & (columns < rows[:, None])
            near[rows] |= is_near.any(axis=1)
    found["product"] = near
    return len(stored)


def _hashes() -> np.ndarray:
    """uint64[HASHES], regular; every tenth is two bits from another."""
    rng = np.random.default_rng(0)
    bits = np.argsort(rng.random((HASHES, 64), np.float32), axis=1) < 32
    copies = np.arange(HASHES // 10)
    bits[copies] = bits[-1 - copies]
    bits[copies, bits[copies].argmax(axis=1)] = False
    bits[copies, 63 - bits[copies][:, ::-1].argmin(axis=1)] = True
    return np.packbits(bits, axis=1).view(">u8").ravel().astype(np.uint64)


def _by_bands(hashes: np.ndarray, _: Path) -> int:
    finder = NearHashes(hashes, np.ones(len(hashes), bool), max_hamming=4, first_same=_first)
    keep_best(len(hashes), [finder])
    return len(hashes)


def _first(rows: np.ndarray, _: np.ndarray) -> np.ndarray:
    """Takes the hashes' word for it: of each row, the first candidate. rows[K] ascending -> bool[K]."""
    return np.diff(rows, prepend=-1) > 0
