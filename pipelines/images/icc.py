"""Colours as an embedded ICC profile means them, brought to sRGB by LittleCMS.

Profiles are a stranger's: one that is too large, damaged, or of another colour model than its picture is left aside,
and the pixels are taken as sRGB, as those without a profile are.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE = 2 << 20
"""Bytes of the largest profile that is read; those of printing presses have half of that."""

Model = Literal["L", "RGB", "CMYK"]
"""The colour model of a file's pixels, by Pillow's name: grey; red, green and blue; or inks."""

_SIGNATURES = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}
_NEAR = 3
"""Levels of 255 by which sRGB profiles of different makers differ at most; what is as near counts as sRGB."""
_PROBES = 17  # levels of each colour, in all combinations
_BAND_PIXELS = 1 << 18


def to_srgb(pixels: np.ndarray, profile: bytes, model: Model) -> np.ndarray:
    """uint8[H, W] or BGR uint8[H, W, 3] of a file with ``profile`` -> sRGB of the same shape, in place.

    ``model`` is the file's: of grey with transparency the pixels have three channels. Pixels whose profile is empty,
    sRGB or of no use stay as they are, and those of CMYK, which are made sRGB as they are decoded.
    """
    convert = None if model == "CMYK" else _conversion(profile, model)
    if convert is None:
        return pixels
    rows = max(1, _BAND_PIXELS // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        pixels[top : top + rows] = convert(pixels[top : top + rows])
    return pixels


def transform_of(profile: bytes, model: Model) -> ImageCms.ImageCmsTransform | None:
    """What brings images of Pillow's mode ``model`` to sRGB; None for a profile that is empty or of no use."""
    return _transform(profile, model) if 0 < len(profile) <= MAX_PROFILE else None


@lru_cache(maxsize=16)
def _transform(profile: bytes, model: Model) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != _SIGNATURES[model]:
            return None
        return ImageCms.buildTransform(source, _srgb(), model, "RGB", ImageCms.Intent.PERCEPTUAL)
    except Exception:  # LittleCMS refuses a damaged profile in any of several ways
        return None


@lru_cache(maxsize=16)
def _conversion(profile: bytes, model: Model) -> Callable[[np.ndarray], np.ndarray] | None:
    """What brings pixels to sRGB; None where there is nothing to do."""
    transform = transform_of(profile, model)
    if transform is None:
        return None
    probes = _probes(model)
    found = np.asarray(transform.apply(Image.fromarray(probes)))
    if model == "L":
        table = found[..., 1].reshape(256)  # grey is neutral in sRGB too: one channel says it
        return None if _is_near(table, probes) else lambda pixels: cv2.LUT(pixels, table)
    return None if _is_near(found, probes) else lambda pixels: _apply(transform, pixels)


def _apply(transform: ImageCms.ImageCmsTransform, pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    return cv2.cvtColor(np.asarray(transform.apply_in_place(image)), cv2.COLOR_RGB2BGR)


def _probes(model: Model) -> np.ndarray:
    """uint8[1, 256] of all greys, or uint8[289, 17, 3] of colours."""
    if model == "L":
        return np.arange(256, dtype=np.uint8)[None]
    levels = np.linspace(0, 255, _PROBES).astype(np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, _PROBES, 3)


def _is_near(found: np.ndarray, probes: np.ndarray) -> bool:
    return int(np.abs(found.astype(int) - probes.astype(int)).max()) <= _NEAR


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
