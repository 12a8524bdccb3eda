"""Each image is embedded once: features of a task's images, kept on disk under what they were made from.

A cache file's name is a digest of the weights, of the images, and of what the preset does with them. So another task on
the same images, or a later evaluation, finds it there, and what has changed is never taken for what it was.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from tqdm import tqdm

from clipsieve.evaluation.datasets.task import Task
from clipsieve.evaluation.features.embeddings import ImageEmbeddings, embed_images, embed_texts
from clipsieve.evaluation.features.presets import ImageProtocol, image_protocol
from clipsieve.evaluation.features.processes import ALONE, Ranks
from clipsieve.schemas import files
from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.models import LoadedModel
from clipsieve.schemas.terminal import printable

_KINDS = ("unit", "pooled")
FEATURES = 1
"""Version of what is computed: it grows with every change that can move a feature."""


@dataclass(frozen=True)
class Features:
    """One model's features under one preset."""

    model: LoadedModel
    preset: str
    prompts: str
    """The chosen set of prompts; see `clipsieve.evaluation.protocols.prompts`."""
    cache: str
    """Folder of the cache."""
    batch_size: int = 128
    ranks: Ranks = ALONE
    _classes: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict)

    def images(self, task: Task) -> np.ndarray:
        """float32[N, D] of unit length, in the order of the task's ids."""
        return self._cached(task, "unit")

    def pooled_images(self, task: Task) -> np.ndarray:
        """float32[N, W] before the projection into the space of the texts, in the order of the task's ids."""
        return self._cached(task, "pooled")

    def pooled_rows(self, task: Task, rows: np.ndarray) -> np.ndarray:
        """`pooled_images` of ``rows`` alone, which ascend: unless all are cached, these alone are embedded."""
        if files.exists(self._path(task, "pooled")):
            return self.pooled_images(task)[rows]
        return self.pooled_images(replace(task, samples=task.samples.only(rows)))

    @property
    def device(self) -> torch.device:
        return next(self.model.model.parameters()).device

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """texts[N] -> float32[N, D] of unit length; equal texts have equal rows, bit for bit."""
        return embed_texts(self.model, texts, self.batch_size)

    def classes(self, prompts: Sequence[Sequence[str]]) -> np.ndarray:
        """float32[C, D]: of each class, the mean of its prompts' unit embeddings, at unit length again.

        A class that another task named with the same prompts is not embedded again.
        """
        wanted = [tuple(own) for own in prompts]
        new = [own for own in dict.fromkeys(wanted) if own not in self._classes]
        if new:
            embedded = self.texts([prompt for own in new for prompt in own])
            means = embedded.reshape(len(new), len(new[0]), -1).mean(axis=1)
            unit = means / np.linalg.norm(means, axis=1, keepdims=True)
            self._classes.update(zip(new, unit, strict=True))
        return np.stack([self._classes[own] for own in wanted])

    def _cached(self, task: Task, kind: str) -> np.ndarray:
        protocol = image_protocol(self.preset, self.model, task)
        name, path = self._name(task), self._path(task, kind)
        if not files.exists(path):
            with self._together(name):
                start, stop = self.ranks.share(len(task.ids))
                if start < stop:
                    _write(self._part(name, self.ranks.rank), self._embed(task, protocol, start, stop))
            if self.ranks.is_first:
                self._join(name)
            self.ranks.barrier()
        return _read(path)

    def _name(self, task: Task) -> str:
        protocol = image_protocol(self.preset, self.model, task)
        return files.sha256_text(FEATURES, self.model.digest, protocol.name, task.samples.digest)[:32]

    def _path(self, task: Task, kind: str) -> str:
        return files.join(self.cache, f"{self._name(task)}.{kind}.npy")

    def _embed(self, task: Task, protocol: ImageProtocol, start: int, stop: int) -> ImageEmbeddings:
        images = task.samples.stream(start, stop)
        hidden = None if self.ranks.is_first else True  # None: where there is no terminal
        shown = tqdm(images, desc=printable(task.key), total=stop - start, unit="image", disable=hidden, leave=False)
        return embed_images(self.model, shown, self.batch_size, protocol.pixels)

    @contextmanager
    def _together(self, name: str) -> Iterator[None]:
        """Where the block fails on one rank it fails on all, each with the first one's reason, and nothing is left."""
        reason = files.join(self.cache, f"{name}.{self.ranks.rank}.failed.txt")
        try:
            yield
        except ClipsieveError as error:
            if self.ranks.world == 1:
                raise
            files.write_bytes(reason, str(error).encode())
        self.ranks.barrier()
        failed = [path for path in files.list_files(self.cache, ".failed.txt") if files.name_of(path).startswith(name)]
        reasons = [files.read_bytes(path).decode() for path in failed]
        self.ranks.barrier()
        if reasons:
            files.remove(*_paths(self._part(name, self.ranks.rank)))
            if self.ranks.is_first:
                files.remove(*failed)
            raise ClipsieveError(reasons[0])

    def _part(self, name: str, rank: int) -> str:
        return files.join(self.cache, name if self.ranks.world == 1 else f"{name}.{rank}of{self.ranks.world}")

    def _join(self, name: str) -> None:
        """Make the ranks' parts one."""
        if self.ranks.world == 1:
            return
        parts = [self._part(name, rank) for rank in range(self.ranks.world)]
        unit, pooled = ([path for path in _paths(*parts) if path.endswith(f".{kind}.npy")] for kind in _KINDS)
        joined = (np.concatenate([_read(path) for path in paths]) for paths in (unit, pooled))
        _write(files.join(self.cache, name), ImageEmbeddings(*joined))
        files.remove(*unit, *pooled)


def _paths(*stems: str) -> list[str]:
    """The files that there are of ``stems``."""
    return [path for stem in stems for kind in _KINDS if files.exists(path := f"{stem}.{kind}.npy")]


def _write(stem: str, embeddings: ImageEmbeddings) -> None:
    """``unit`` last: where it is, both are."""
    for kind, array in (("pooled", embeddings.pooled), ("unit", embeddings.unit)):
        with files.atomic_write(f"{stem}.{kind}.npy") as stream:
            np.save(stream, array, allow_pickle=False)


def _read(path: str) -> np.ndarray:
    return np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False)
