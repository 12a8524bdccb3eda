"""`image_based(CLUSTERS)`: DataComp's image-based filter on the embeddings that `score --embeddings` keeps.

    embeddings -> a sample of 64 a cluster -> faiss k-means -> the clusters nearest to some target embedding
    a pair is kept whose image lies nearest to one of these clusters' centres

DataComp (Gadre et al. 2023, section 4.3 and its baselines/apply_filter.py) clusters CLIP ViT-L/14 embeddings of its
pool into 100,000 and takes ImageNet's training images for the target; nearest is the largest cosine.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import apache_beam as beam
import faiss
import numpy as np
from apache_beam.pvalue import AsIter, AsSingleton

from clipsieve.pipelines.filters.columns import PairColumns, Rows
from clipsieve.pipelines.select import thresholds
from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError

SAMPLE_PER_CLUSTER = 64
ITERATIONS = 20
IMAGE_KEYS = ("img", "l14_img", "b32_img")
"""What image embeddings are called in an npz: ours, then DataComp's."""


@dataclass(frozen=True)
class ImageBased:
    """Keeps pairs whose image is of a cluster that is nearest to some embedding of the target set."""

    clusters: int
    seed: int = 0

    columns: ClassVar[tuple[str, ...]] = ()

    def check(self, pool: PairColumns) -> None:
        if not isinstance(self.clusters, int) or self.clusters < 1:
            raise InputError(f"rule image_based: {self.clusters!r} is no number of clusters from 1 on")
        if pool.targets is None:
            raise InputError("rule image_based: name the target set's embeddings (npy, npz or a folder) with `targets`")

    def survey(self, score_files: beam.PCollection[str], pool: PairColumns, out: str) -> beam.PCollection[str]:
        rows = score_files | "Rows" >> beam.Map(_count_rows) | "All" >> beam.CombineGlobally(sum)
        sample = score_files | "Sample" >> beam.Map(self.sample_file, pool, AsSingleton(rows))
        path = files.join(out, "_clusters", f"{self.clusters}-{self.seed}.npz")
        return (
            score_files.pipeline
            | "Where" >> beam.Create([path])
            | "Cluster" >> beam.Map(self.write_clusters, AsIter(sample), pool)
        )

    def rejects(self, rows: Rows, finding: str) -> np.ndarray:
        centres, is_target = _load_clusters(finding)
        images = _read_images_of(rows)
        return ~is_target[nearest(images, centres)]

    def sample_file(self, path: str, pool: PairColumns, pairs: int) -> tuple[str, np.ndarray]:
        """The score file's path and float16[M, D]: its share of the sample, drawn by a seeded hash of the uid."""
        rows = pool.read(path, ())
        share = SAMPLE_PER_CLUSTER * self.clusters / max(1, pairs)
        drawn = thresholds.unit_interval(thresholds.hash_of(rows.raw_uids, self.seed)) < share
        return path, _read_images_of(rows)[drawn].astype(np.float16)

    def write_clusters(self, path: str, sample: Iterable[tuple[str, np.ndarray]], pool: PairColumns) -> str:
        """Train the clusters and mark the target's; returns ``path``, which is left alone where it is there."""
        if files.exists(path):
            return path
        parts = [part for _, part in sorted(sample, key=lambda named: named[0])]
        centres = train(np.concatenate(parts).astype(np.float32), self.clusters, self.seed)
        is_target = np.zeros(len(centres), bool)
        for target in _target_files(str(pool.targets)):
            embeddings = read_images(target)
            if embeddings.shape[1] != centres.shape[1]:
                raise InputError(
                    f"{target}: embeddings of {embeddings.shape[1]} dimensions, the pool's have {centres.shape[1]}; "
                    "make both with one model"
                )
            is_target[nearest(embeddings, centres)] = True
        stream = io.BytesIO()
        np.savez(stream, centres=centres, is_target=is_target)
        files.write_bytes(path, stream.getvalue())
        return path


def train(sample: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Unit vectors float32[M, D] -> float32[clusters, D], of unit length: spherical k-means."""
    if len(sample) < clusters:
        raise InputError(f"rule image_based: {clusters} clusters of {len(sample)} embeddings; ask for fewer")
    kmeans = faiss.Kmeans(
        sample.shape[1],
        clusters,
        niter=ITERATIONS,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=2 * SAMPLE_PER_CLUSTER,
    )
    kmeans.train(sample)
    return np.asarray(kmeans.centroids)


def nearest(embeddings: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """float32[N, D], float32[K, D] -> int64[N]: the centre of the largest inner product with each embedding."""
    index = faiss.IndexFlatIP(centres.shape[1])
    index.add(centres)
    return index.search(embeddings, 1)[1][:, 0] if len(embeddings) else np.zeros(0, np.int64)


def read_images(path: str) -> np.ndarray:
    """The image embeddings in an npy or npz as float32[N, D], of unit length."""
    try:
        loaded = np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False)
        raw = loaded if isinstance(loaded, np.ndarray) else loaded[next(key for key in IMAGE_KEYS if key in loaded)]
    except (ValueError, EOFError, StopIteration, OSError) as error:
        raise InputError(f"{path}: no image embeddings there (npy, or npz with {', '.join(IMAGE_KEYS)})") from error
    if raw.ndim != 2 or not np.issubdtype(raw.dtype, np.floating):
        raise InputError(f"{path}: {raw.dtype} of shape {raw.shape} is no table of embeddings")
    embeddings = np.ascontiguousarray(raw, np.float32)
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.divide(embeddings, lengths, out=embeddings, where=lengths > 0)


def _count_rows(path: str) -> int:
    with tables.open_parquet(path) as parquet:
        return int(parquet.metadata.num_rows)


def _read_images_of(rows: Rows) -> np.ndarray:
    """float32[N, D]: the embeddings next to a score file."""
    path = rows.path.removesuffix(".parquet") + ".npz"
    if not files.exists(path):
        raise InputError(f"{path}: no such file; score with --embeddings, which image_based needs")
    images = read_images(path)
    if len(images) != len(rows):
        raise InputError(f"{path}: {len(images)} embeddings for the {len(rows)} pairs of {rows.path}; score again")
    return images


def _target_files(targets: str) -> list[str]:
    if targets.endswith((".npy", ".npz")):
        return [targets]
    found = [*files.list_files(targets, ".npy"), *files.list_files(targets, ".npz")]
    if not found:
        raise InputError(f"{targets}: no embeddings (*.npy, *.npz) in this folder")
    return found


@lru_cache(maxsize=2)
def _load_clusters(path: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False) as loaded:
        return loaded["centres"], loaded["is_target"]
