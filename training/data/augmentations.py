"""Augmentations by name: how much of the image a view's crop covers, and what is then done to its pixels.

Every operation draws from the generator that it is given and from nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from clipsieve.training.data.randaugment import Operation, randaugment

_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = 0.8, 0.8, 0.8, 0.2
_SIGMA = (0.1, 2.0)


@dataclass(frozen=True)
class Augmentation:
    """A view's way from pixels to the tower's input."""

    crop: tuple[float, float] | None = None
    """Least and greatest share of the image that a random crop covers; None: the evaluation's geometry."""
    operations: tuple[Operation, ...] = ()
    """In this order, on uint8[3, S, S]."""


def flip(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirrored half of the time."""
    return F.horizontal_flip(pixels) if rng.random() < 0.5 else pixels


def jitter(pixels: Tensor, rng: np.random.Generator, strength: float = 0.5) -> Tensor:
    """Colours changed in 8 of 10 images: factors of 1 ± .8 s, hue by ± .2 s of the circle, in a random order.

    Torchvision's ``ColorJitter(.8 s, .8 s, .8 s, .2 s)``: SimCLR's (appendix A) at a ``strength`` s.
    """
    if rng.random() >= 0.8:
        return pixels
    adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    spread = strength * np.array([_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE])
    amounts = np.array([1.0, 1.0, 1.0, 0.0]) + rng.uniform(-spread, spread)
    for which in rng.permutation(len(adjust)):
        pixels = adjust[which](pixels, float(amounts[which]))
    return pixels


def grey(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Without colour in 2 of 10 images."""
    return F.rgb_to_grayscale(pixels, num_output_channels=3) if rng.random() < 0.2 else pixels


def blur(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Blurred in half of the images, by a sigma of .1 to 2 px over a kernel of a tenth of the side (SimCLR)."""
    if rng.random() >= 0.5:
        return pixels
    side = max(3, pixels.shape[-1] // 10 | 1)
    return F.gaussian_blur(pixels, [side, side], [float(rng.uniform(*_SIGMA))])


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "crop": Augmentation((0.5, 1.0)),  # SLIP, section 4: the caption's view
    "crop_flip": Augmentation((0.4, 1.0), (flip,)),
    "crop50_flip": Augmentation((0.5, 1.0), (flip,)),  # FLIP
    "crop40": Augmentation((0.4, 1.0)),  # CLIPA, B/16
    "crop40_jitter": Augmentation((0.4, 1.0), (partial(jitter, strength=0.4), grey)),  # CLIPA, L/16 and H/14
    "randaugment": Augmentation(None, (randaugment,)),
    # Khosla et al. 2020, supplementary material
    "stacked_randaugment": Augmentation((0.08, 1.0), (flip, jitter, randaugment, grey, blur)),
    "simclr": Augmentation((0.08, 1.0), (jitter, grey, blur, flip)),  # SLIP's other two views
}
