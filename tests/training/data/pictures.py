"""Pictures that augmentations and decoders are tried on."""

from __future__ import annotations

import numpy as np


def smooth_picture(size: int) -> np.ndarray:
    """Of many colours, with some noise; uint8[size, size, 3]."""
    line = np.linspace(40, 200, size)
    planes = np.stack([np.add.outer(line, 0 * line), np.add.outer(0 * line, line), np.add.outer(line, line) / 2], 2)
    noise = np.random.default_rng(0).integers(-20, 20, planes.shape)
    picture: np.ndarray = (planes + noise).astype(np.uint8)
    return picture
