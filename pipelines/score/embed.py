"""References at work: samples decoded and embedded, a mini-batch a thread.

A mini-batch is made of samples in their order and runs on one thread from decoding to embeddings. So decoding goes on
beside the models, the bits of an embedding depend neither on how many threads or workers there are nor on which shards
are scored together, and of a shard only the mini-batches under way are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.nn.functional import normalize

from clipsieve.schemas.images import decode_sample
from clipsieve.schemas.models import LoadedModel
from clipsieve.schemas.samples import Sample
from clipsieve.schemas.streams import batched, map_ahead


@dataclass(frozen=True)
class Embedded:
    """Images and captions under one reference."""

    image: np.ndarray
    """float32[N, D], of unit length."""
    text: np.ndarray
    """float32[N, D], of unit length."""

    @property
    def similarity(self) -> np.ndarray:
        """float32[N]: cosine of image and caption."""
        return np.einsum("nd,nd->n", self.image, self.text)


@dataclass(frozen=True)
class EmbeddedBatch:
    """Some samples, less their images, under each reference."""

    keys: list[str]
    captions: list[str]
    by_reference: tuple[Embedded, ...]


def embed(
    samples: Iterable[Sample],
    references: Sequence[LoadedModel],
    path: str,
    batch_size: int,
    threads: int,
    precision: str = "fp32",
) -> Iterator[EmbeddedBatch]:
    """Embed the samples of the tar at ``path`` in mini-batches, in their order.

    ``precision`` is fp32 or bf16 (torch's autocast). A sample whose image is missing or damaged is an InputError.
    """
    work = partial(_embed_batch, references=references, path=path, precision=precision)
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from map_ahead(pool, work, batched(samples, batch_size), threads + 1)
    finally:
        torch.set_num_threads(before)


def _embed_batch(samples: list[Sample], references: Sequence[LoadedModel], path: str, precision: str) -> EmbeddedBatch:
    captions = [sample.caption for sample in samples]
    pixels = _pixels(samples, references, path)
    embedded = (_embed(reference, pixels[repr(reference.preprocess)], captions, precision) for reference in references)
    return EmbeddedBatch([sample.key for sample in samples], captions, tuple(embedded))


def _pixels(samples: Sequence[Sample], references: Sequence[LoadedModel], path: str) -> dict[str, torch.Tensor]:
    """float32[N, 3, S, S] by the repr of a preprocessing: each image is decoded once, and prepared once for each."""
    transforms = {repr(reference.preprocess): reference.preprocess for reference in references}
    prepared: dict[str, list[torch.Tensor]] = {name: [] for name in transforms}
    for sample in samples:
        image = decode_sample(sample, path)
        for name, transform in transforms.items():
            prepared[name].append(transform(image))
    return {name: torch.stack(tensors) for name, tensors in prepared.items()}


def _embed(reference: LoadedModel, pixels: torch.Tensor, captions: Sequence[str], precision: str) -> Embedded:
    device = next(reference.model.parameters()).device
    tokens = reference.tokenizer(captions)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        image = reference.model.encode_image(pixels.to(device), normalize=False)  # type: ignore[operator]
        text = reference.model.encode_text(tokens.to(device), normalize=False)  # type: ignore[operator]
    return Embedded(_unit(image), _unit(text))


def _unit(features: torch.Tensor) -> np.ndarray:
    """Of unit length in fp32, whatever the model computed in."""
    return normalize(features.float(), dim=-1).cpu().numpy()
