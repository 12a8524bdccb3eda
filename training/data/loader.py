"""Reads a plan's samples by byte offset, decodes them in threads ahead of the step, and batches them.

What was decoded is kept while there is room, so a small subset that is seen many times is decoded once. Order
and augmentation are functions of the recipe and of the place in the stream: workers and processes change
neither.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice, tee
from threading import Lock
from typing import Any, cast

import numpy as np
import torch

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.images import decode_sample
from clipsieve.schemas.ranges import RangeReader
from clipsieve.schemas.samples import Sample, read_samples
from clipsieve.schemas.threads import map_ahead
from clipsieve.training.data.images import image_stages
from clipsieve.training.data.order import SampleOrder
from clipsieve.training.data.texts import text_stages
from clipsieve.training.strategies.base import View
from clipsieve.training.towers.tower import Tower

CACHE_BYTES = 1 << 30
"""Decoded pairs kept by one process: 82,000 of 64 px, 7,000 of 224 px."""
_BATCHES_AHEAD = 2
_SAMPLES_A_READ = 64
"""Asked of an object store at once by one thread."""

DecodedPair = tuple[np.ndarray, np.ndarray]
"""What is the same in every epoch: uint8[H, W, 3] pixels and int64[L] tokens."""


@dataclass(frozen=True)
class Batch:
    """One process's share of a step."""

    images: dict[str, torch.Tensor]
    """uint8[B, 3, S, S] by view, RGB."""
    texts: torch.Tensor
    """int64[B, L], token ids."""
    teacher: torch.Tensor | None = None
    """float16[B, 2, D], a teacher's embeddings of image and caption, 0 where it has none; None: there is no teacher."""


class PairReader:
    """Reads the pair at any position of a run's stream. Safe to call from several threads."""

    def __init__(
        self,
        order: SampleOrder,
        tower: Tower,
        views: Sequence[View],
        text_mask: str,
        captions: Callable[[int, int], str | None] | None = None,
        teacher: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """``captions`` and ``teacher``: see `Captions` and `Teacher` of captions.py and teacher.py."""
        self._captions, self._teacher = captions, teacher
        self._order, self._plan, self._views, self._seed = order, order.plan, views, order.seed
        self._encode, self._reduce = text_stages(text_mask, tower.model_cfg["text_cfg"])
        self._prepare, self._augments = image_stages([view.augment for view in views], tower.preprocess_cfg)
        self._ranges = RangeReader()
        self._cache: dict[int, DecodedPair] = {}
        self._room = CACHE_BYTES
        self._lock = Lock()

    def read(self, positions: range) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """uint8[V, B, S, S, 3] views, int64[B, L] token ids and a teacher's embeddings of these positions."""
        views, texts = [], []
        indices = self._order.slice(positions.start, positions.stop)
        for position, index, (pixels, own) in zip(positions, indices.tolist(), self._pairs(indices), strict=True):
            views.append([augment(pixels, (self._seed, position, n)) for n, augment in enumerate(self._augments)])
            other = self._captions(index, position) if self._captions else None
            texts.append(self._reduce(own if other is None else self._encode(other), (self._seed, position)))
        taught = self._teacher(indices) if self._teacher else None
        return np.stack([np.stack(view) for view in zip(*views, strict=True)]), np.stack(texts), taught

    def names(self, positions: range) -> list[tuple[str, str]]:
        """The tar and the key of the sample at each of these positions of the stream."""
        indices = self._order.slice(positions.start, positions.stop).tolist()
        return [(self._tar(index), sample.key) for index, sample in zip(indices, self._fetch(indices), strict=True)]

    def collect(self, parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> Batch:
        """One batch of what several calls of `read` gave, in memory that a GPU can fetch from by itself."""
        views, texts, taught = zip(*parts, strict=True)
        pixels = torch.from_numpy(np.concatenate(views, axis=1)).permute(0, 1, 4, 2, 3)
        tokens = torch.from_numpy(np.concatenate(texts))
        if torch.cuda.is_available():
            pixels, tokens = pixels.pin_memory(), tokens.pin_memory()
        teacher = torch.from_numpy(np.concatenate(taught)) if self._teacher else None
        return Batch({view.name: pixels[number] for number, view in enumerate(self._views)}, tokens, teacher)

    def _pairs(self, chosen: np.ndarray) -> list[DecodedPair]:
        """Pixels and tokens, from the cache or decoded; the bytes of all that are missing are requested at once."""
        indices = chosen.tolist()
        pairs = {index: self._cache.get(index) for index in indices}
        missing = [index for index, pair in pairs.items() if pair is None]
        for start in range(0, len(missing), _SAMPLES_A_READ):
            part = missing[start : start + _SAMPLES_A_READ]
            for index, sample in zip(part, self._fetch(part), strict=True):
                pairs[index] = self._decode(index, sample)
        return [cast(DecodedPair, pairs[index]) for index in indices]

    def _decode(self, index: int, sample: Sample) -> DecodedPair:
        tar = self._tar(index)
        image = decode_sample(sample, tar)
        try:
            pixels = self._prepare(image)
        except ValueError as error:  # so long that its shorter side would have no pixel
            raise InputError(f"{tar}: sample {sample.key}: the image cannot be resized ({error})") from error
        pair = pixels, self._encode(sample.caption)
        self._keep(index, pair)
        return pair

    def _keep(self, index: int, pair: DecodedPair) -> None:
        needed = sum(array.nbytes for array in pair)
        with self._lock:
            if needed <= self._room and index not in self._cache:
                self._cache[index] = pair
                self._room -= needed

    def _fetch(self, indices: Sequence[int]) -> list[Sample]:
        plan = self._plan
        ranges = [(self._tar(index), int(plan.offset[index]), int(plan.size[index])) for index in indices]
        return read_samples(ranges, self._ranges, plan.naming)

    def _tar(self, index: int) -> str:
        return self._plan.tars[self._plan.shard[index]]


def load_batches(reader: PairReader, shares: Iterable[range], workers: int) -> Generator[Batch, None, None]:
    """The batch of each range of stream positions, in order, read by threads two batches ahead."""
    now, later = tee(shares)
    parts = (part for share in later for part in _split(share, workers))
    # A batch's last part is handed on when those of the two batches after it are begun.
    with closing(map_ahead(reader.read, parts, workers, ahead=_BATCHES_AHEAD * workers + 1)) as read:
        for share in now:
            yield reader.collect(islice(read, len(_split(share, workers))))


def normalise(images: torch.Tensor, preprocess_cfg: dict[str, Any]) -> torch.Tensor:
    """uint8[B, 3, S, S] -> float32[B, 3, S, S] on the images' device, as the evaluation transform ends."""
    mean, std = (torch.tensor(preprocess_cfg[name], device=images.device).view(3, 1, 1) for name in ("mean", "std"))
    return (images.float() / 255 - mean) / std


def _split(share: range, parts: int) -> list[range]:
    step = -(-len(share) // parts)
    return [share[start : start + step] for start in range(0, len(share), step)]
