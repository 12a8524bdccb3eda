"""Reads a plan's samples by byte offset, decodes them in threads ahead of the step, and batches them.

What was decoded is kept while there is room, so a small subset that is seen many times is decoded once. Order
and augmentation are functions of the recipe and of the place in the stream: workers and processes change
neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from PIL import Image

from schemas import files
from schemas.errors import InputError
from schemas.samples import Sample, parse_samples
from schemas.tokenizer import tokenizer_for
from training.images import image_stages
from training.plan import SamplePlan, stream_slice
from training.towers import Tower

CACHE_BYTES = 1 << 30
"""Decoded pairs kept by one process: 82,000 of 64 px, 7,000 of 224 px."""
_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """One process's share of a step."""

    images: torch.Tensor
    """uint8[B, 3, S, S], RGB."""
    texts: torch.Tensor
    """int64[B, L], token ids."""


class PairReader:
    """Reads the pair at any position of a run's stream. Safe to call from several threads."""

    def __init__(self, plan: SamplePlan, tower: Tower, augment: str, seed: int) -> None:
        self._plan, self._seed = plan, seed
        self._tokenizer = tokenizer_for(tower.model_cfg["text_cfg"])
        self._prepare, self._augment = image_stages(augment, tower.preprocess_cfg)
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._room = CACHE_BYTES
        self._lock = Lock()

    def read(self, positions: range) -> tuple[np.ndarray, np.ndarray]:
        """uint8[B, S, S, 3] images and int64[B, L] token ids of these positions of the stream."""
        indices = stream_slice(len(self._plan), self._seed, positions.start, positions.stop)
        images, texts = [], []
        for position, index in zip(positions, indices.tolist(), strict=True):
            pixels, tokens = self._cache.get(index) or self._decode(index)
            images.append(self._augment(pixels, (self._seed, position)))
            texts.append(tokens)
        return np.stack(images), np.stack(texts)

    def _decode(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        tar, sample = self._fetch(index)
        try:
            pixels = self._prepare(sample.image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{tar}: sample {sample.key}: the image cannot be decoded ({error})") from error
        pair = pixels, self._tokenizer([sample.caption])[0].numpy()
        self._keep(index, pair)
        return pair

    def _keep(self, index: int, pair: tuple[np.ndarray, np.ndarray]) -> None:
        needed = sum(array.nbytes for array in pair)
        with self._lock:
            if needed <= self._room and index not in self._cache:
                self._cache[index] = pair
                self._room -= needed

    def _fetch(self, index: int) -> tuple[str, Sample]:
        tar = self._plan.tars[self._plan.shard[index]]
        start, size = int(self._plan.offset[index]), int(self._plan.size[index])
        fs, path = files.filesystem(tar)
        try:
            samples = parse_samples(fs.cat_file(path, start, start + size), tar)
        except FileNotFoundError as error:
            raise InputError(f"{tar}: no such file") from error
        if len(samples) != 1:
            raise InputError(f"{tar}: {len(samples)} samples, not 1, at byte {start}; verify the shards")
        return tar, samples[0]


def load_batches(reader: PairReader, shares: Iterable[range], workers: int) -> Generator[Batch, None, None]:
    """The batch of each range of stream positions, in order, read by threads two batches ahead."""
    pool = ThreadPoolExecutor(workers)
    ahead: deque[list[Future[tuple[np.ndarray, np.ndarray]]]] = deque()
    try:
        for share in shares:
            ahead.append([pool.submit(reader.read, part) for part in _split(share, workers)])
            if len(ahead) > _BATCHES_AHEAD:
                yield _collect(ahead.popleft())
        while ahead:
            yield _collect(ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def normalise(images: torch.Tensor, preprocess_cfg: dict[str, Any]) -> torch.Tensor:
    """uint8[B, 3, S, S] -> float32[B, 3, S, S] on the images' device, as the evaluation transform ends."""
    mean, std = (torch.tensor(preprocess_cfg[name], device=images.device).view(3, 1, 1) for name in ("mean", "std"))
    return (images.float() / 255 - mean) / std


def _split(share: range, parts: int) -> list[range]:
    step = -(-len(share) // parts)
    return [share[start : start + step] for start in range(0, len(share), step)]


def _collect(parts: list[Future[tuple[np.ndarray, np.ndarray]]]) -> Batch:
    images, texts = zip(*(part.result() for part in parts), strict=True)
    pixels = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2)
    return Batch(pixels, torch.from_numpy(np.concatenate(texts)))
