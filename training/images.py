"""From a stored image to the pixels that a tower sees: the evaluation's geometry, or a crop and flip."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from open_clip import image_transform
from PIL import Image

CROP_AREA = (0.4, 1.0)
"""Share of the image that a random crop covers (CLIPA)."""
CROP_RATIO = (3 / 4, 4 / 3)
"""Width by height of a random crop (torchvision's RandomResizedCrop)."""

Prepare = Callable[[bytes], np.ndarray]
"""Encoded image -> uint8[H, W, 3], the part of the work that is the same in every epoch."""
Augment = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
"""uint8[H, W, 3] and a seed -> uint8[S, S, 3], the part that differs."""


def image_stages(augment: str, preprocess_cfg: dict[str, Any]) -> tuple[Prepare, Augment]:
    """The two stages of an image's way to uint8[S, S, 3] for ``augment`` none or crop_flip."""
    size = int(preprocess_cfg["size"])
    if augment == "none":
        return fit_to_tower(preprocess_cfg), lambda pixels, _: pixels
    return partial(shrink, side=2 * size), partial(crop_and_flip, size=size)


def fit_to_tower(preprocess_cfg: dict[str, Any]) -> Prepare:
    """Open_clip's evaluation transform, its normalisation left to the device."""
    transform = image_transform(
        preprocess_cfg["size"],
        is_train=False,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        resize_mode=preprocess_cfg.get("resize_mode"),
        interpolation=preprocess_cfg.get("interpolation"),
        fill_color=preprocess_cfg.get("fill_color", 0),
    )
    # The transform ends in pixels / 255: multiplying and rounding gives back the very bytes.
    return lambda data: transform(_open(data)).mul_(255).round_().permute(1, 2, 0).numpy().astype(np.uint8)


def shrink(data: bytes, side: int) -> np.ndarray:
    """The image with its shorter side brought down to ``side`` pixels: enough to crop, and small to keep."""
    image = _open(data)
    scale = min(1.0, side / min(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def crop_and_flip(pixels: np.ndarray, seed: tuple[int, int], size: int) -> np.ndarray:
    """A random crop of `CROP_AREA` and `CROP_RATIO`, resized to ``size``, mirrored half of the time."""
    rng = np.random.default_rng(seed)
    height, width = pixels.shape[:2]
    area = rng.uniform(*CROP_AREA) * height * width
    ratio = math.exp(rng.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])))
    crop_width, crop_height = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
    left, top = rng.uniform(0, width - crop_width), rng.uniform(0, height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    crop = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, box=box))
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def _open(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")
