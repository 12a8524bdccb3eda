"""Operations on pixels, uint8[H, W, 3] -> a new uint8[H, W, 3], of the parts of OpenCV that decode nothing.

What they compute is what torchvision's functions of these names compute, within a level or two: what changes each value
by itself is a table of 256 values.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

Pixels = np.ndarray
"""uint8[H, W, 3], RGB"""

_LEVELS = np.arange(256, dtype=np.float32)
_GREY_SHARES = np.array([0.299, 0.587, 0.114])
_DOWN = -0.499
"""OpenCV rounds to the nearest level, torchvision down."""

cv2.setNumThreads(0)  # images are decoded side by side, each on one thread


def mapped(pixels: Pixels, values: np.ndarray) -> Pixels:
    """Each value replaced by that of a table, [256], or [256, 3] for a table of each channel; rounded down, cut."""
    table = np.clip(values, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table if table.ndim == 1 else table[None]))


def grey(pixels: Pixels) -> Pixels:
    """Without colour."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def brightness(pixels: Pixels, factor: float) -> Pixels:
    """Multiplied."""
    return mapped(pixels, _LEVELS * factor)


def contrast(pixels: Pixels, factor: float) -> Pixels:
    """Away from the mean of the image without colour, or towards it."""
    # Each of the grey levels is rounded down.
    middle = float(np.dot(cv2.mean(pixels)[:3], _GREY_SHARES)) - 0.5
    return mapped(pixels, _LEVELS * factor + (1 - factor) * middle)


def saturation(pixels: Pixels, factor: float) -> Pixels:
    """Away from the image without colour, or towards it."""
    return np.asarray(cv2.addWeighted(pixels, factor, grey(pixels), 1 - factor, _DOWN))


def hue(pixels: Pixels, turn: float) -> Pixels:
    """Turned by a share of the circle of colours, in 256 steps."""
    cylinder = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL))
    cylinder[..., 0] += np.uint8(round(turn * 256) % 256)
    return np.asarray(cv2.cvtColor(cylinder, cv2.COLOR_HSV2RGB_FULL))


def gaussian_blur(pixels: Pixels, side: int, sigma: float) -> Pixels:
    """Blurred over a kernel of ``side`` pixels, or of 4 sigma each way, beyond which a weight is less than a level."""
    side = min(side, 2 * math.ceil(4 * sigma) + 1)
    kernel = cv2.getGaussianKernel(side, sigma)
    return np.asarray(cv2.sepFilter2D(pixels, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101))


def auto_contrast(pixels: Pixels) -> Pixels:
    """The values of each channel spread over all levels."""
    ends = [cv2.minMaxLoc(channel)[:2] for channel in cv2.split(pixels)]
    tables = [(_LEVELS - low) * (255 / (high - low)) if high > low else _LEVELS for low, high in ends]
    return mapped(pixels, np.stack(tables, axis=1))


def equalize(pixels: Pixels) -> Pixels:
    """The values of each channel spread so that all levels are about as frequent."""
    return mapped(pixels, np.stack([_equal_shares(channel) for channel in cv2.split(pixels)], axis=1))


def _equal_shares(channel: np.ndarray) -> np.ndarray:
    counts = np.asarray(cv2.calcHist([channel], [0], None, [256], [0, 256]))[:, 0].astype(np.int64)
    (present,) = np.nonzero(counts)
    step = (channel.size - counts[present[-1]]) // 255
    if not step:
        return _LEVELS
    before = np.cumsum(counts) - counts
    return (before + step // 2) // step


def sharpness(pixels: Pixels, factor: float) -> Pixels:
    """Away from the image blurred over 3 x 3 pixels, or towards it; the border stays."""
    kernel = np.full((3, 3), (1 - factor) / 13)
    kernel[1, 1] = factor + (1 - factor) * 5 / 13
    changed = np.asarray(cv2.filter2D(pixels, -1, kernel, delta=_DOWN))
    for line in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        changed[line] = pixels[line]
    return changed


def moved(pixels: Pixels, matrix: np.ndarray, fill: int) -> Pixels:
    """The pixel that is nearest to the place float64[2, 3] ``matrix`` sends each pixel's column and row to; ``fill``
    beyond the border."""
    height, width = pixels.shape[:2]
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(pixels, matrix, (width, height), flags=flags, borderValue=(fill,) * 3))


def resized(pixels: Pixels, size: int) -> Pixels:
    """uint8[H, W, 3] -> uint8[size, size, 3]: the mean of what falls on a pixel, or a cubic between pixels."""
    smaller = min(pixels.shape[:2]) >= size
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=interpolation))
