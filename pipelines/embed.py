"""The reference at work on one shard: its samples decoded, embedded and compared, a mini-batch a thread.

A mini-batch is made of a shard's samples in their order and runs on one thread from decoding to cosine. So
the bits of a similarity depend neither on how many threads or workers there are nor on which shards are
scored together.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from schemas.errors import InputError
from schemas.models import LoadedModel
from schemas.samples import Sample
from schemas.streams import batched, map_ahead

T = TypeVar("T")
R = TypeVar("R")

_IMAGE_FORMATS = ("JPEG", "PNG", "WEBP")
_DECODE_ERRORS = (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError)


@dataclass(frozen=True)
class Embedded:
    """Samples in the shard's order, less their images."""

    keys: list[str]
    captions: list[str]
    image: np.ndarray
    """float32[N, D], of unit length."""
    text: np.ndarray
    """float32[N, D], of unit length."""

    @property
    def similarity(self) -> np.ndarray:
        """float32[N]: cosine of image and caption."""
        return np.einsum("nd,nd->n", self.image, self.text)


def embed(samples: Iterable[Sample], reference: LoadedModel, path: str, batch_size: int, threads: int) -> Embedded:
    """Embed the samples of the tar at ``path``; one whose image is missing or damaged is an InputError."""
    device = next(reference.model.parameters()).device

    def embed_batch(batch: list[Sample]) -> Embedded:
        pixels = torch.stack([reference.preprocess(decode(sample, path)) for sample in batch])
        captions = [sample.caption for sample in batch]
        tokens = reference.tokenizer(captions)
        with torch.inference_mode():
            image = reference.model.encode_image(pixels.to(device), normalize=True)  # type: ignore[operator]
            text = reference.model.encode_text(tokens.to(device), normalize=True)  # type: ignore[operator]
        return Embedded([sample.key for sample in batch], captions, image.cpu().numpy(), text.cpu().numpy())

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return _concatenate(list(map_ahead(pool, embed_batch, batched(samples, batch_size), threads + 1)))
    finally:
        torch.set_num_threads(before)


def decode(sample: Sample, path: str) -> Image.Image:
    """The sample's image as RGB."""
    try:
        return Image.open(io.BytesIO(sample.image), formats=_IMAGE_FORMATS).convert("RGB")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except _DECODE_ERRORS as error:
        raise InputError(f"{path}: sample {sample.key}: its image cannot be decoded ({error})") from error


def _concatenate(batches: list[Embedded]) -> Embedded:
    if not batches:
        nothing = np.zeros((0, 0), np.float32)
        return Embedded([], [], nothing, nothing)
    return Embedded(
        [key for batch in batches for key in batch.keys],
        [caption for batch in batches for caption in batch.captions],
        np.concatenate([batch.image for batch in batches]),
        np.concatenate([batch.text for batch in batches]),
    )
