"""Images and texts through a model's two towers: fp32 embeddings of unit length."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from schemas.errors import ClipsieveError, InputError
from schemas.models import LoadedModel
from schemas.streams import batched, map_ahead

T = TypeVar("T")
R = TypeVar("R")

_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow's decoders raise


def embed_images(model: LoadedModel, images: Iterable[tuple[str, bytes]], batch_size: int) -> np.ndarray:
    """(where, encoded image)[N] -> float32[N, D] of unit length, on the device that holds the model.

    The images are streamed: those of three batches are in memory. One that cannot be decoded is an InputError
    that begins with its ``where``.
    """
    workers = min(8, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(workers) as pool:
        pixels = map_ahead(pool, partial(_pixels, model), images, ahead=2 * batch_size)
        batches = (torch.stack(batch) for batch in batched(pixels, batch_size))
        return _encode(model, "encode_image", batches)


def embed_texts(model: LoadedModel, texts: Sequence[str], batch_size: int) -> np.ndarray:
    """texts[N] -> float32[N, D] of unit length; equal texts have equal rows, bit for bit."""
    unique = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    batches = (model.tokenizer(batch) for batch in batched(unique, batch_size))
    return _encode(model, "encode_text", batches)[[unique[text] for text in texts]]


def decode_image(where: str, data: bytes) -> Image.Image:
    """An encoded image as RGB, what is transparent in it over white (as img2dataset stores such images)."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if not image.has_transparency_data:
                return image.convert("RGB")
            rgba = image.convert("RGBA")
    except _UNREADABLE as error:
        raise InputError(f"{where}: not a readable image ({type(error).__name__})") from error
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _pixels(model: LoadedModel, image: tuple[str, bytes]) -> torch.Tensor:
    return model.preprocess(decode_image(*image))


def _encode(model: LoadedModel, tower: str, batches: Iterable[torch.Tensor]) -> np.ndarray:
    encode, device = getattr(model.model, tower), next(model.model.parameters()).device
    parts = []
    with torch.inference_mode():
        for batch in batches:
            parts.append(encode(batch.to(device), normalize=True).float().cpu().numpy())
    embeddings = np.concatenate(parts)
    if not np.isfinite(embeddings).all():
        raise ClipsieveError(f"{model.name}: the model gives embeddings that are not finite")
    return embeddings
