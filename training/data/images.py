"""From a decoded image to the pixels that a tower sees: the evaluation's geometry, or random views of it.

What is the same in every epoch (decoding, shrinking) is apart from what differs, so that it can be kept. A view is a
function of the pixels and of a seed, (seed, position in the stream, number of the view): workers do not change it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from open_clip import image_transform
from PIL import Image
from torchvision.transforms import Compose

from clipsieve.training.data.augmentations import AUGMENTATIONS, Augmentation
from clipsieve.training.data.operations import resized

CROP_RATIO = (3 / 4, 4 / 3)
"""Width by height of a random crop (torchvision's RandomResizedCrop)."""
_CROPS_DRAWN = 10

DECODER = "Pillow, JPEGs at reduced scale"
"""What a run's pixels come from; another decoder's differ."""

Prepare = Callable[[Image.Image], np.ndarray]
"""RGB image -> uint8[H, W, 3], the part of the work that is the same in every epoch and view."""
Augment = Callable[[np.ndarray, tuple[int, int, int]], np.ndarray]
"""uint8[H, W, 3] and (seed, position, view) -> uint8[S, S, 3], the part that differs."""


def image_stages(augments: Sequence[str], preprocess_cfg: dict[str, Any]) -> tuple[Prepare, list[Augment]]:
    """The stages of an image's way to uint8[S, S, 3]: one that its views share, and one for each view.

    ``augments``: names of `AUGMENTATIONS`, which either all crop or all do not.
    """
    size = int(preprocess_cfg["size"])
    chosen = [AUGMENTATIONS[name] for name in augments]
    is_cropped = any(augmentation.crop for augmentation in chosen)
    prepare = partial(shrink, side=needed_side(augments, size)) if is_cropped else fit_to_tower(preprocess_cfg)
    return prepare, [partial(make_view, augmentation=augmentation, size=size) for augmentation in chosen]


def needed_side(augments: Sequence[str], size: int) -> int:
    """Pixels of an image's shorter side that ``size`` pixels of the smallest crop need not to be enlarged."""
    crops = [AUGMENTATIONS[name].crop for name in augments]
    return max(math.ceil(size / math.sqrt(crop[0] * CROP_RATIO[0])) if crop else size for crop in crops)


def fit_to_tower(preprocess_cfg: dict[str, Any]) -> Prepare:
    """Open_clip's evaluation transform, its normalisation left to the device."""
    transform = image_transform(
        preprocess_cfg["size"],
        is_train=False,
        resize_mode=preprocess_cfg.get("resize_mode"),
        interpolation=preprocess_cfg.get("interpolation"),
        fill_color=preprocess_cfg.get("fill_color", 0),
    )
    geometry = Compose(transform.transforms[:-2])  # less ToTensor and Normalize
    return lambda image: np.asarray(geometry(image))


def shrink(image: Image.Image, side: int) -> np.ndarray:
    """The image with its shorter side brought down to ``side`` pixels: enough to crop, and small to keep."""
    scale = min(1.0, side / min(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def make_view(pixels: np.ndarray, seed: tuple[int, int, int], augmentation: Augmentation, size: int) -> np.ndarray:
    """uint8[H, W, 3] -> uint8[size, size, 3], every draw from a generator of ``seed``."""
    if not augmentation.crop and not augmentation.operations:
        return pixels
    rng = np.random.default_rng(seed)
    if augmentation.crop:
        pixels = random_crop(pixels, rng, augmentation.crop, size)
    for operation in augmentation.operations:
        pixels = operation(pixels, rng)
    return pixels


def random_crop(pixels: np.ndarray, rng: np.random.Generator, area: tuple[float, float], size: int) -> np.ndarray:
    """A random crop of this share of the image and of `CROP_RATIO`, resized to ``size``.

    One that does not fit into the image is drawn again, ten times; then it is the largest in the middle (torchvision's
    RandomResizedCrop).
    """
    height, width = pixels.shape[:2]
    low, high = CROP_RATIO
    for _ in range(_CROPS_DRAWN):
        covered = rng.uniform(*area) * height * width
        ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
        across, down = round(math.sqrt(covered * ratio)), round(math.sqrt(covered / ratio))
        if 0 < across <= width and 0 < down <= height:
            top, left = int(rng.integers(height - down + 1)), int(rng.integers(width - across + 1))
            return resized(pixels[top : top + down, left : left + across], size)
    across, down = min(width, max(1, round(height * high))), min(height, max(1, round(width / low)))
    top, left = (height - down) // 2, (width - across) // 2
    return resized(pixels[top : top + down, left : left + across], size)
