"""RandAugment (Cubuk et al. 2020) as big_vision has it: 2 of 16 operations on an image, each at magnitude 10 of 10.

Operations and strengths are those of ``big_vision/pp/autoaugment.py``, its lengths in pixels taken as shares of a
224 px image; contrast is about the image's mean, as PIL has it. What a shift leaves empty is grey.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from clipsieve.training.data import operations
from clipsieve.training.data.operations import Pixels

OPERATIONS_PER_IMAGE = 2
_GREY = 128
_DEGREES, _SHEAR, _SHIFT, _CUT = 30.0, 0.3, 100 / 224, 80 / 224
"""A cut-out's side and a shift are shares of the image's side; a shear is the tangent of its angle."""
_ENHANCE, _ADDED = 1.9, 110
_LEVELS = np.arange(256)
_POSTERIZED = _LEVELS & 0xF0
_SOLARIZED = np.where(_LEVELS < 128, _LEVELS + _ADDED, _LEVELS)

Operation = Callable[[Pixels, np.random.Generator], Pixels]
"""uint8[H, W, 3] -> the same shape; whatever is random in it comes from the generator."""


def randaugment(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Two operations, drawn with replacement; uint8[H, W, 3] -> uint8[H, W, 3]."""
    names = list(OPERATIONS)
    for drawn in rng.integers(len(names), size=OPERATIONS_PER_IMAGE):
        pixels = OPERATIONS[names[drawn]](pixels, rng)
    return pixels


def _sign(rng: np.random.Generator) -> int:
    return int(rng.integers(2)) * 2 - 1


def _moved(pixels: Pixels, across: tuple[float, float, float], down: tuple[float, float, float]) -> Pixels:
    return operations.moved(pixels, np.array([across, down], np.float64), _GREY)


def _rotate(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """About the image's centre."""
    angle = math.radians(_sign(rng) * _DEGREES)
    cos, sin = math.cos(angle), math.sin(angle)
    row, column = ((side - 1) / 2 for side in pixels.shape[:2])
    return _moved(pixels, (cos, -sin, column - cos * column + sin * row), (sin, cos, row - sin * column - cos * row))


def _shear_x(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """About the image's corner: its first row stays."""
    return _moved(pixels, (1, _sign(rng) * _SHEAR, 0), (0, 1, 0))


def _shear_y(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """About the image's corner: its first column stays."""
    return _moved(pixels, (1, 0, 0), (_sign(rng) * _SHEAR, 1, 0))


def _translate_x(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _moved(pixels, (1, 0, -round(_sign(rng) * _SHIFT * pixels.shape[1])), (0, 1, 0))


def _translate_y(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _moved(pixels, (1, 0, 0), (0, 1, -round(_sign(rng) * _SHIFT * pixels.shape[0])))


def _cutout(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = pixels.shape[:2]
    half = round(_CUT * min(height, width) / 2)
    row, column = rng.integers(height), rng.integers(width)
    cut = pixels.copy()
    cut[max(0, row - half) : row + half, max(0, column - half) : column + half] = _GREY
    return cut


OPERATIONS: dict[str, Operation] = {
    "auto_contrast": lambda pixels, _: operations.auto_contrast(pixels),
    "equalize": lambda pixels, _: operations.equalize(pixels),
    "invert": lambda pixels, _: np.asarray(cv2.bitwise_not(pixels)),
    "rotate": _rotate,
    "posterize": lambda pixels, _: operations.mapped(pixels, _POSTERIZED),
    "solarize": lambda pixels, _: pixels,  # at this magnitude it inverts what is above 255: nothing
    "color": lambda pixels, _: operations.saturation(pixels, _ENHANCE),
    "contrast": lambda pixels, _: operations.contrast(pixels, _ENHANCE),
    "brightness": lambda pixels, _: operations.brightness(pixels, _ENHANCE),
    "sharpness": lambda pixels, _: operations.sharpness(pixels, _ENHANCE),
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "cutout": _cutout,
    "solarize_add": lambda pixels, _: operations.mapped(pixels, _SOLARIZED),
}
