"""Images and texts through a model's two towers, in fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.models import LoadedModel
from clipsieve.schemas.streams import batched
from clipsieve.schemas.threads import decoding_threads, map_ahead

Pixels = Callable[[tuple[str, bytes]], torch.Tensor]
"""(where, encoded image) -> float32[3, S, S]."""


@dataclass(frozen=True)
class ImageEmbeddings:
    """Both outputs of the image tower."""

    unit: np.ndarray
    """float32[N, D] of unit length: what is compared with texts."""
    pooled: np.ndarray
    """float32[N, W]: the features before the projection into the space of the texts."""


def embed_images(
    model: LoadedModel, images: Iterable[tuple[str, bytes]], batch_size: int, pixels: Pixels
) -> ImageEmbeddings:
    """(where, encoded image)[N] through the image tower, on the device that holds the model.

    The images are streamed: those of three batches are in memory. One that cannot be decoded is an InputError
    that begins with its ``where``.
    """
    device = _device(model)
    unit, pooled = [], []
    with (
        closing(map_ahead(pixels, images, decoding_threads(), 2 * batch_size)) as prepared,
        torch.inference_mode(),
        _captured_pooled(model.model) as captured,
    ):
        for batch in batched(prepared, batch_size):
            features = model.model.encode_image(torch.stack(batch).to(device))  # type: ignore[operator]
            unit.append(torch.nn.functional.normalize(features, dim=-1).float().cpu().numpy())
            pooled.append((captured.pop() if captured else features).float().cpu().numpy())
    return ImageEmbeddings(_finite(model, unit), _finite(model, pooled))


def embed_texts(model: LoadedModel, texts: Sequence[str], batch_size: int) -> np.ndarray:
    """texts[N] -> float32[N, D] of unit length; equal texts have equal rows, bit for bit."""
    device = _device(model)
    unique = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    parts = []
    with torch.inference_mode():
        for batch in batched(unique, batch_size):
            features = model.model.encode_text(model.tokenizer(batch).to(device), normalize=True)  # type: ignore[operator]
            parts.append(features.float().cpu().numpy())
    return _finite(model, parts)[[unique[text] for text in texts]]


@contextmanager
def _captured_pooled(model: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """Within the block each pass through the image tower leaves its pre-projection features in the list.

    A tower whose projection is no step of its own (CLIP's ResNets pool and project at once) leaves nothing.
    """
    captured: list[torch.Tensor] = []
    visual: Any = getattr(model, "visual", None)
    head = getattr(visual, "head", None)
    if isinstance(getattr(visual, "proj", None), torch.nn.Parameter):
        with _projecting_outside(visual, captured):
            yield captured
    elif isinstance(head, torch.nn.Module):
        handle = head.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0].flatten(1)))
        try:
            yield captured
        finally:
            handle.remove()
    else:
        yield captured


@contextmanager
def _projecting_outside(visual: Any, captured: list[torch.Tensor]) -> Iterator[None]:
    """Take a vision transformer's last product out of it, and do it on what comes out."""
    projection, visual.proj = visual.proj, None

    def project(_: torch.nn.Module, __: Any, pooled: torch.Tensor) -> torch.Tensor:
        captured.append(pooled)
        return pooled @ projection

    handle = visual.register_forward_hook(project)
    try:
        yield
    finally:
        handle.remove()
        visual.proj = projection


def _device(model: LoadedModel) -> torch.device:
    return next(model.model.parameters()).device


def _finite(model: LoadedModel, parts: list[np.ndarray]) -> np.ndarray:
    embeddings = np.concatenate(parts)
    if not np.isfinite(embeddings).all():
        raise ClipsieveError(f"{model.name}: the model gives embeddings that are not finite")
    return embeddings
