"""Augmentations by name: how much of the image a view's crop covers, and what is then done to its pixels.

Every operation draws from the generator that it is given and from nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from clipsieve.training.data import operations
from clipsieve.training.data.operations import Pixels
from clipsieve.training.data.randaugment import Operation, randaugment

_JITTERED = (operations.brightness, operations.contrast, operations.saturation, operations.hue)
_SPREAD = np.array([0.8, 0.8, 0.8, 0.2])
"""Of the factors about 1, and of the turn of the hue, at strength 1 (SimCLR, appendix A)."""
_SIGMA = (0.1, 2.0)


@dataclass(frozen=True)
class Augmentation:
    """A view's way from pixels to the tower's input."""

    crop: tuple[float, float] | None = None
    """Least and greatest share of the image that a random crop covers; None: the evaluation's geometry."""
    operations: tuple[Operation, ...] = ()
    """In this order, on uint8[S, S, 3]."""


def flip(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Mirrored half of the time."""
    return np.asarray(cv2.flip(pixels, 1)) if rng.random() < 0.5 else pixels


def jitter(pixels: Pixels, rng: np.random.Generator, strength: float) -> Pixels:
    """Colours changed in 8 of 10 images: factors of 1 ± .8, hue by ± .2 of the circle, times the strength, in a random
    order.

    Torchvision's ``ColorJitter`` of these factors.
    """
    if rng.random() >= 0.8:
        return pixels
    spread = _SPREAD * strength
    amounts = np.array([1.0, 1.0, 1.0, 0.0]) + rng.uniform(-spread, spread)
    for which in rng.permutation(len(_JITTERED)):
        pixels = _JITTERED[which](pixels, float(amounts[which]))
    return pixels


def grey(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Without colour in 2 of 10 images."""
    return operations.grey(pixels) if rng.random() < 0.2 else pixels


def blur(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Blurred in half of the images, by a sigma of .1 to 2 px over a kernel of a tenth of the side (SimCLR)."""
    if rng.random() >= 0.5:
        return pixels
    side = max(3, len(pixels) // 10 | 1)
    return operations.gaussian_blur(pixels, side, float(rng.uniform(*_SIGMA)))


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "crop": Augmentation((0.5, 1.0)),  # SLIP, section 4: the caption's view
    "crop_flip": Augmentation((0.4, 1.0), (flip,)),
    "crop50_flip": Augmentation((0.5, 1.0), (flip,)),  # FLIP
    "crop40": Augmentation((0.4, 1.0)),  # CLIPA, B/16
    "crop40_jitter": Augmentation((0.4, 1.0), (partial(jitter, strength=0.4), grey)),  # CLIPA, L/16 and H/14
    "randaugment": Augmentation(None, (randaugment,)),
    # Khosla et al. 2020, supplementary material; the strength is that of their scripts
    "stacked_randaugment": Augmentation((0.08, 1.0), (flip, partial(jitter, strength=1.0), randaugment, grey, blur)),
    "simclr": Augmentation((0.08, 1.0), (partial(jitter, strength=0.5), grey, blur, flip)),  # SLIP's other two views
}
