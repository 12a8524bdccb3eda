"""What the methods compare: the rows in rank order, with the finder that each method is."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipsieve.pipelines.dedup.clusters import Gather
from clipsieve.pipelines.dedup.exact import EqualValues
from clipsieve.pipelines.dedup.greedy import Finder
from clipsieve.pipelines.dedup.images import TaskImages
from clipsieve.pipelines.dedup.pairs import Pairs, shifted
from clipsieve.pipelines.dedup.perceptual import NearHashes
from clipsieve.pipelines.dedup.pictures import SamePictures
from clipsieve.pipelines.dedup.semantic import NearEmbeddings
from clipsieve.pipelines.dedup.stacked import gather_by_rank, stack
from clipsieve.pipelines.dedup.thumbnail import NearThumbnails, has_contrast
from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.naming import MemberNaming
from clipsieve.schemas.options import DedupOptions
from clipsieve.schemas.uid import uid_strings

_BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class RankedPairs:
    """Task images, then pairs from the best down: N rows. ``place`` int64[N] says where a row is stored.

    ``order`` int64[P] is `Pairs.rank_order`.
    """

    tasks: TaskImages | None
    pairs: Pairs
    order: np.ndarray
    naming: MemberNaming | None = None
    """How the members of the pairs' tars are named."""

    def __len__(self) -> int:
        return self.fixed + len(self.pairs)

    @property
    def fixed(self) -> int:
        return len(self.tasks.names) if self.tasks else 0

    @property
    def place(self) -> np.ndarray:
        return np.concatenate([np.arange(self.fixed), self.fixed + self.order])

    @property
    def uids(self) -> np.ndarray:
        """V16[N]; zeros for task images."""
        return np.concatenate([np.zeros(self.fixed, "V16"), self.pairs.raw_uids.view("V16").ravel()[self.order]])

    @property
    def sha256(self) -> np.ndarray:
        """S16[N]"""
        of_tasks = np.array(self.tasks.sha256 if self.tasks else [], "S16")
        return np.concatenate([of_tasks, self.pairs.sha256[self.order]])

    @property
    def phash(self) -> np.ndarray:
        """uint64[N]"""
        of_tasks = self.tasks.phash if self.tasks else np.zeros(0, np.uint64)
        return np.concatenate([of_tasks, self.pairs.phash[self.order]])

    @property
    def has_phash(self) -> np.ndarray:
        """bool[N]"""
        return np.concatenate([np.ones(self.fixed, bool), self.pairs.has_phash[self.order]])

    @property
    def located(self) -> tuple[tuple[str, ...], np.ndarray]:
        """The paths of all tars, and int64[N, 3] as `Pairs.places`, of task images too."""
        tars, places = self.pairs.tars, self.pairs.places[self.order]
        if self.tasks is None:
            return tars, places
        return tars + self.tasks.tars, np.concatenate([shifted(self.tasks.places, len(tars)), places])

    def names(self, rows: np.ndarray) -> list[str]:
        """TASK:KEY or uid of each row."""
        of_pairs = uid_strings(self.pairs.raw_uids[self.order[np.maximum(rows - self.fixed, 0)]])
        tasks = self.tasks.names if self.tasks else []
        return [tasks[row] if row < self.fixed else uid for row, uid in zip(rows.tolist(), of_pairs, strict=True)]


def find_by(
    options: DedupOptions, ranked: RankedPairs, paths: Sequence[str], thumbnails: str, scratch: Path
) -> Iterator[tuple[str, Finder]]:
    """The finders of the options' methods, each with its method, cheap ones first.

    ``paths`` are the score files, next to which embeddings lie; ``thumbnails`` is the folder of theirs. Arrays too
    large for memory are put under ``scratch``.
    """
    rows = np.arange(len(ranked))
    first_same = SamePictures(*ranked.located, ranked.fixed, ranked.naming).first_of
    if "exact" in options.methods:
        yield "exact", EqualValues(ranked.uids, rows >= ranked.fixed)
        yield "exact", EqualValues(ranked.sha256, ranked.sha256 != b"")
    if "perceptual" in options.methods:
        yield "perceptual", NearHashes(ranked.phash, ranked.has_phash, options.max_hamming, first_same)
    if "thumbnail" in options.methods:
        stored = stack(_thumbnails(paths, thumbnails, ranked.tasks), scratch / "thumbnails")
        gather = gather_by_rank(stored, ranked.place)
        clear = [block[has_contrast(gather(block))] for block in np.array_split(rows, len(rows) // _BLOCK_ROWS + 1)]
        yield "thumbnail", NearThumbnails(np.concatenate(clear), gather, options.seed, first_same)
    if "semantic" in options.methods:
        stored = stack(_embeddings(paths, ranked.tasks), scratch / "embeddings")
        gather = _unit_rows(gather_by_rank(stored, ranked.place))
        yield "semantic", NearEmbeddings(rows, gather, options.min_cosine, options.seed)


def _unit_rows(stored: Gather) -> Gather:
    """float16 rows as float32 of unit length; a row without length stays as it is, near none."""

    def gather(rows: np.ndarray) -> np.ndarray:
        vectors = stored(rows).astype(np.float32)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)

    return gather


def _thumbnails(paths: Sequence[str], folder: str, tasks: TaskImages | None) -> Iterator[tuple[str, np.ndarray]]:
    if tasks:
        yield "tasks", tasks.thumbnails
    for path in paths:
        npy = files.join(folder, files.name_of(path).replace(".parquet", ".npy"))
        yield npy, np.load(io.BytesIO(files.read_bytes(npy)), allow_pickle=False)


def _embeddings(paths: Sequence[str], tasks: TaskImages | None) -> Iterator[tuple[str, np.ndarray]]:
    if tasks and tasks.embeddings is not None:
        yield "tasks", tasks.embeddings
    for path in paths:
        npz = path.replace(".parquet", ".npz")
        if not files.exists(npz):
            raise InputError(f"{npz}: no such embeddings, which method semantic compares; score with --embeddings")
        try:
            yield npz, np.load(io.BytesIO(files.read_bytes(npz)), allow_pickle=False)["img"]
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise InputError(f"{npz}: no image embeddings (img) can be read there ({error}); score again") from error
