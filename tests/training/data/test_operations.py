"""Operations in OpenCV against torchvision's, whose place they take: how far a pixel's levels are from each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from clipsieve.training.data import operations
from tests.training.data.pictures import smooth_picture

FACTORS = (0.2, 0.6, 1.4, 1.8)


def assert_near(ours, theirs, mean, most):
    """Mean and largest difference of a value, in levels of 255."""
    apart = np.abs(ours.astype(int) - theirs.permute(1, 2, 0).numpy().astype(int))
    assert apart.mean() <= mean and apart.max() <= most, (apart.mean(), apart.max())


def both(size):
    picture = smooth_picture(size)
    return picture, torch.from_numpy(picture).permute(2, 0, 1)


@pytest.fixture(params=[32, 64, 224])
def pictures(request):
    """A picture for OpenCV and for torchvision."""
    return both(request.param)


@pytest.mark.parametrize("factor", FACTORS)
def test_brightness(pictures, factor):
    assert_near(operations.brightness(pictures[0], factor), F.adjust_brightness(pictures[1], factor), 0, 0)


@pytest.mark.parametrize("factor", FACTORS)
def test_contrast(pictures, factor):
    assert_near(operations.contrast(pictures[0], factor), F.adjust_contrast(pictures[1], factor), 0.1, 1)


@pytest.mark.parametrize("factor", FACTORS)
def test_saturation(pictures, factor):
    assert_near(operations.saturation(pictures[0], factor), F.adjust_saturation(pictures[1], factor), 0.6, 2)


@pytest.mark.parametrize("turn", [-0.2, -0.1, 0.03, 0.17])
def test_hue(pictures, turn):
    assert_near(operations.hue(pictures[0], turn), F.adjust_hue(pictures[1], turn), 0.6, 10)


def test_grey(pictures):
    assert_near(operations.grey(pictures[0]), F.rgb_to_grayscale(pictures[1], 3), 0.6, 1)


@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.0, 2.0])
def test_blur(pictures, sigma):
    side = max(3, len(pictures[0]) // 10 | 1)
    ours, theirs = (
        operations.gaussian_blur(pictures[0], side, sigma),
        F.gaussian_blur(pictures[1], [side] * 2, [sigma] * 2),
    )
    assert_near(ours, theirs, 0.3, 2)


def test_auto_contrast_and_equalize(pictures):
    assert_near(operations.auto_contrast(pictures[0]), F.autocontrast(pictures[1]), 0.1, 1)
    assert_near(operations.equalize(pictures[0]), F.equalize(pictures[1]), 0, 0)


def test_sharpness(pictures):
    assert_near(operations.sharpness(pictures[0], 1.9), F.adjust_sharpness(pictures[1], 1.9), 0.6, 2)


@pytest.mark.parametrize("level", [0, 7, 255])
def test_of_one_level_nothing_is_left_to_spread(level):
    flat = np.full((8, 8, 3), level, np.uint8)
    assert np.array_equal(operations.auto_contrast(flat), flat) and np.array_equal(operations.equalize(flat), flat)


@pytest.mark.parametrize("size, mean", [(32, 2.5), (60, 3), (100, 3.5)])
def test_resizing_is_near_an_antialiased_cubic(size, mean):
    ours, theirs = both(64)
    target = F.resize(theirs, [size, size], InterpolationMode.BICUBIC, antialias=True)
    assert_near(operations.resized(ours, size), target, mean, 30)
