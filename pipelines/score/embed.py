"""References at work: samples decoded and embedded, a mini-batch a thread.

A mini-batch is made of samples in their order and runs on one thread from decoding to embeddings. So decoding goes on
next to the models, the bits of an embedding depend neither on how many threads or workers there are nor on which shards
are scored together, and of a shard only the mini-batches under way are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import open_clip
import torch
from torch.nn.functional import normalize

from clipsieve.schemas.images import decode_sample
from clipsieve.schemas.models import LoadedModel
from clipsieve.schemas.samples import Sample
from clipsieve.schemas.streams import batched
from clipsieve.schemas.threads import map_ahead


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
        one_core = partial(torch.set_num_threads, 1)
        yield from map_ahead(work, batched(samples, batch_size), threads, ahead=threads + 1, start=one_core)
    finally:
        torch.set_num_threads(before)


def _embed_batch(samples: list[Sample], references: Sequence[LoadedModel], path: str, precision: str) -> EmbeddedBatch:
    captions = [sample.caption for sample in samples]
    pixels = _pixels(samples, references, path)
    embedded = (_embed(*each, captions, precision) for each in zip(references, pixels, strict=True))
    return EmbeddedBatch([sample.key for sample in samples], captions, tuple(embedded))


def _pixels(samples: Sequence[Sample], references: Sequence[LoadedModel], path: str) -> list[torch.Tensor]:
    """float32[N, 3, S, S] for each reference. Each image is decoded once; references configured alike share tensors."""
    settings = [open_clip.get_model_preprocess_cfg(reference.model) for reference in references]
    first_alike = [settings.index(each) for each in settings]
    prepared: dict[int, list[torch.Tensor]] = {number: [] for number in first_alike}
    for sample in samples:
        image = decode_sample(sample, path)
        for number, tensors in prepared.items():
            tensors.append(references[number].preprocess(image))
    pixels = {number: torch.stack(tensors) for number, tensors in prepared.items()}
    return [pixels[number] for number in first_alike]


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
