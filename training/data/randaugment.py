"""RandAugment (Cubuk et al. 2020) as big_vision has it: 2 of 16 operations on an image, each at magnitude 10 of 10.

Operations and strengths are those of ``big_vision/pp/autoaugment.py``, its lengths in pixels taken as shares of a
224 px image; contrast is about the image's mean, as PIL has it. What a shift leaves empty is grey.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

OPERATIONS_PER_IMAGE = 2
_GREY = 128
_DEGREES, _SHEAR, _SHIFT, _CUT = 30.0, 0.3, 100 / 224, 80 / 224
"""A cut-out's side and a shift are shares of the image's side; a shear is the tangent of its angle."""
_ENHANCE, _BITS, _ADDED = 1.9, 4, 110

Operation = Callable[[Tensor, np.random.Generator], Tensor]
"""uint8[3, H, W] -> the same shape; whatever is random in it comes from the generator."""


def randaugment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Two operations, drawn with replacement; uint8[3, H, W] -> uint8[3, H, W]."""
    names = list(OPERATIONS)
    for drawn in rng.integers(len(names), size=OPERATIONS_PER_IMAGE):
        pixels = OPERATIONS[names[drawn]](pixels, rng)
    return pixels


def _moved(pixels: Tensor, angle: float = 0.0, shift: tuple[float, float] = (0, 0), shear: float = 0.0) -> Tensor:
    nearest, degrees = InterpolationMode.NEAREST, float(np.degrees(np.arctan(shear)))
    return F.affine(pixels, angle, [*map(round, shift)], 1.0, [degrees, 0.0], interpolation=nearest, fill=[_GREY] * 3)


def _sign(rng: np.random.Generator) -> int:
    return int(rng.integers(2)) * 2 - 1


def _rotate(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    return _moved(pixels, angle=_sign(rng) * _DEGREES)


def _shear_x(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    return _moved(pixels, shear=_sign(rng) * _SHEAR)


def _shear_y(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    return _moved(pixels.mT, shear=_sign(rng) * _SHEAR).mT


def _translate_x(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    return _moved(pixels, shift=(_sign(rng) * _SHIFT * pixels.shape[-1], 0))


def _translate_y(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    return _moved(pixels, shift=(0, _sign(rng) * _SHIFT * pixels.shape[-2]))


def _solarize_add(pixels: Tensor, _: np.random.Generator) -> Tensor:
    return torch.where(pixels < 128, (pixels.int() + _ADDED).clamp(max=255).to(torch.uint8), pixels)


def _cutout(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    height, width = pixels.shape[-2:]
    half = round(_CUT * min(height, width) / 2)
    row, column = rng.integers(height), rng.integers(width)
    cut = pixels.clone()
    cut[:, max(0, row - half) : row + half, max(0, column - half) : column + half] = _GREY
    return cut


OPERATIONS: dict[str, Operation] = {
    "auto_contrast": lambda pixels, _: F.autocontrast(pixels),
    "equalize": lambda pixels, _: F.equalize(pixels),
    "invert": lambda pixels, _: F.invert(pixels),
    "rotate": _rotate,
    "posterize": lambda pixels, _: F.posterize(pixels, _BITS),
    "solarize": lambda pixels, _: pixels,  # at this magnitude it inverts what is above 255: nothing
    "color": lambda pixels, _: F.adjust_saturation(pixels, _ENHANCE),
    "contrast": lambda pixels, _: F.adjust_contrast(pixels, _ENHANCE),
    "brightness": lambda pixels, _: F.adjust_brightness(pixels, _ENHANCE),
    "sharpness": lambda pixels, _: F.adjust_sharpness(pixels, _ENHANCE),
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "cutout": _cutout,
    "solarize_add": _solarize_add,
}
