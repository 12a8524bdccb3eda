"""The views of FLIP and CLIPA: crops of their least area, flipped or not, and CLIPA's change of colours."""

from __future__ import annotations

import numpy as np
import pytest

from clipsieve.training.data.augmentations import AUGMENTATIONS
from clipsieve.training.data.images import make_view

VIEWS = 600


@pytest.fixture
def image():
    """Brighter to the right in two of its planes, and to the bottom in two: uint8[64, 64, 3]."""
    line = np.linspace(40, 200, 64)
    planes = [np.add.outer(0 * line, line), np.add.outer(line, 0 * line), np.add.outer(line, line) / 2]
    return np.stack(planes, axis=-1).astype(np.uint8)


def views(name, image):
    return [make_view(image, (0, position, 0), AUGMENTATIONS[name], 64).astype(int) for position in range(VIEWS)]


def sigmas(share, expected):
    """How far a share of `VIEWS` is from the expected one, in standard deviations."""
    return abs(share - expected) / np.sqrt(expected * (1 - expected) / VIEWS)


@pytest.mark.parametrize(
    "name, area, flips", [("crop50_flip", 0.5, True), ("crop40", 0.4, False), ("crop40_jitter", 0.4, False)]
)
def test_the_least_area_and_the_flip(image, name, area, flips):
    assert AUGMENTATIONS[name].crop == (area, 1.0)
    turned = np.mean([view[:, -8:].sum() < view[:, :8].sum() for view in views(name, image)])
    assert sigmas(turned, 0.5) < 5 if flips else turned == 0


def test_clipas_colours(image):
    """clipa_torch: ColorJitter(.32, .32, .32, .08) in 8 of 10 images, then grey in 2 of 10.

    Of a flat grey image only brightness is left, a factor of .68 to 1.32, less the roundings.
    """
    values = [view[0, 0, 0] for view in views("crop40_jitter", np.full((64, 64, 3), 100, np.uint8))]
    assert 66 <= min(values) < 72 and 128 < max(values) <= 133
    assert sigmas(np.mean([value == 100 for value in values]), 0.2) < 6
    greyed = [(view[..., :1] == view).all() for view in views("crop40_jitter", image)]
    assert sigmas(np.mean(greyed), 0.2) < 5
