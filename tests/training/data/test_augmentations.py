"""Augmentations against the code that they follow, and that they draw from their generator alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

from clipsieve.training.data import augmentations, operations, randaugment
from clipsieve.training.data.augmentations import AUGMENTATIONS, blur, flip, grey, jitter
from clipsieve.training.data.images import make_view
from clipsieve.training.data.randaugment import OPERATIONS
from tests.training.data.pictures import smooth_picture

SURE = 1e-4
"""A right distribution fails a test of it once in so many fixed draws."""


@pytest.fixture
def pixels():
    """uint8[64, 64, 3]"""
    return smooth_picture(64)


def rng(seed=0):
    return np.random.default_rng(seed)


def sent(pixels, place, nudge):
    """big_vision's transform in numpy: the nearest pixel to the place of each, in whole pixels from the corner."""
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    across, down = (np.rint(axis + nudge).astype(int) for axis in place(columns, rows))
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    return np.where(inside[..., None], pixels[down.clip(0, height - 1), across.clip(0, width - 1)], np.uint8(128))


def share_equal(ours, pixels, place):
    """Of the pixels; one whose place is midway between two may be either."""
    either = [(ours == sent(pixels, place, nudge)).all(2) for nudge in (-1e-3, 1e-3)]
    return (either[0] | either[1]).mean()


@pytest.mark.parametrize(
    "name, reference, levels",
    [
        ("auto_contrast", ImageOps.autocontrast, 1),
        ("equalize", ImageOps.equalize, 0),
        ("invert", ImageOps.invert, 0),
        ("posterize", lambda image: ImageOps.posterize(image, 4), 0),
        ("solarize", lambda image: ImageOps.solarize(image, 256), 0),
        ("color", lambda image: ImageEnhance.Color(image).enhance(1.9), 2),  # a rounding of the grey level, .9 times
        ("contrast", lambda image: ImageEnhance.Contrast(image).enhance(1.9), 2),
        ("brightness", lambda image: ImageEnhance.Brightness(image).enhance(1.9), 1),
    ],
)
def test_an_operation_is_pils(pixels, name, reference, levels):
    ours, theirs = OPERATIONS[name](pixels, rng()), np.asarray(reference(Image.fromarray(pixels)))
    assert np.abs(ours.astype(int) - theirs).max() <= levels


def test_sharpness_is_pils_within_the_borders(pixels):
    theirs = np.asarray(ImageEnhance.Sharpness(Image.fromarray(pixels)).enhance(1.9))
    assert np.abs(OPERATIONS["sharpness"](pixels, rng()).astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize(
    "name, place",
    [
        ("shear_x", lambda sign, side, column, row: (column + sign * 0.3 * row, row)),
        ("shear_y", lambda sign, side, column, row: (column, row + sign * 0.3 * column)),
        ("translate_x", lambda sign, side, column, row: (column + sign * round(side * 100 / 224), row)),
        ("translate_y", lambda sign, side, column, row: (column, row + sign * round(side * 100 / 224))),
        ("rotate", lambda sign, side, column, row: turned(sign * np.pi / 6, (side - 1) / 2, column, row)),
    ],
)
def test_a_move_is_big_visions(name, place, size):
    picture = smooth_picture(size)
    both = {OPERATIONS[name](picture, rng(seed)).tobytes() for seed in range(20)}
    assert len(both) == 2
    for array in (np.frombuffer(each, np.uint8).reshape(picture.shape) for each in both):
        assert max(share_equal(array, picture, partial(place, sign, size)) for sign in (-1, 1)) > 0.995


def turned(angle, middle, column, row):
    across, down = column - middle, row - middle
    cos, sin = np.cos(angle), np.sin(angle)
    return middle + across * cos - down * sin, middle + across * sin + down * cos


def test_a_shear_leaves_the_corner_and_empties_what_big_visions_does(pixels):
    for seed in range(4):
        sheared = OPERATIONS["shear_x"](pixels, rng(seed))
        assert np.array_equal(sheared[0], pixels[0])
        empty = (sheared == 128).all(2).mean()
        assert 0.13 < empty < 0.16  # about the centre half as much


def test_a_cut_out_is_a_grey_square_and_solarize_add_brightens_the_dark(pixels):
    cut = OPERATIONS["cutout"](pixels, rng(3))
    rows, columns = (np.flatnonzero((cut != pixels).any(2).any(axis)) for axis in (1, 0))
    assert len(rows) <= 23 and len(columns) <= 23  # 80 of 224 px, cut at the border
    assert (cut[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == 128).all()
    expected = np.where(pixels < 128, np.minimum(pixels.astype(int) + 110, 255), pixels)
    assert np.array_equal(OPERATIONS["solarize_add"](pixels, rng()), expected)


def test_two_of_sixteen_operations_are_drawn_alike(pixels, monkeypatch):
    counts = dict.fromkeys(OPERATIONS, 0)

    def counted(name):
        def operation(image, generator):
            counts[name] += 1
            return image

        return operation

    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, counted(name))
    for seed in range(1600):
        randaugment.randaugment(pixels, rng(seed))
    assert len(counts) == 16 and sum(counts.values()) == 3200
    assert stats.chisquare([*counts.values()]).pvalue > SURE


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_jitter_draws_as_simclr_and_in_every_order(pixels, monkeypatch, strength):
    """ColorJitter(.8 s, .8 s, .8 s, .2 s) in 8 of 10 images."""
    drawn: list[tuple[int, float]] = []

    def recorded(which):
        def operation(image, amount):
            drawn.append((which, amount))
            return image

        return operation

    monkeypatch.setattr(augmentations, "_JITTERED", tuple(map(recorded, range(4))))
    for seed in range(3000):
        jitter(pixels, rng(seed), strength)
    amounts = {which: [amount for other, amount in drawn if other == which] for which in range(4)}
    assert stats.binomtest(len(amounts[0]), 3000, 0.8).pvalue > SURE
    for which, (middle, spread) in enumerate([(1, 0.8), (1, 0.8), (1, 0.8), (0, 0.2)]):
        least, width = middle - spread * strength, 2 * spread * strength
        assert stats.kstest(amounts[which], stats.uniform(least, width).cdf).pvalue > SURE
    orders = [tuple(which for which, _ in drawn[start : start + 4]) for start in range(0, len(drawn), 4)]
    assert stats.chisquare(np.unique(orders, axis=0, return_counts=True)[1]).pvalue > SURE
    assert len(set(orders)) == 24


@pytest.mark.parametrize("operation, share", [(flip, 0.5), (grey, 0.2)])
def test_an_operation_is_done_to_its_share_of_the_images(pixels, operation, share):
    done = sum(not np.array_equal(operation(pixels, rng(seed)), pixels) for seed in range(600))
    assert stats.binomtest(done, 600, share).pvalue > SURE


def test_blur_draws_as_simclr(pixels, monkeypatch):
    """A sigma of .1 to 2 px in half of the images, over a tenth of the side."""
    drawn: list[tuple[int, float]] = []
    monkeypatch.setattr(operations, "gaussian_blur", lambda _, side, sigma: drawn.append((side, sigma)))
    for seed in range(2000):
        blur(pixels, rng(seed))
    assert stats.binomtest(len(drawn), 2000, 0.5).pvalue > SURE
    assert stats.kstest([sigma for _, sigma in drawn], stats.uniform(0.1, 1.9).cdf).pvalue > SURE
    assert {side for side, _ in drawn} == {7}


def test_the_stacked_views_jitter_is_of_strength_1_and_simclrs_of_half():
    """Khosla et al.'s scripts give --augmentation_magnitude=1.0; SimCLR's appendix B.9 has .5."""
    stacked, simclr = (
        [each.keywords["strength"] for each in AUGMENTATIONS[name].operations if isinstance(each, partial)]
        for name in ("stacked_randaugment", "simclr")
    )
    assert (stacked, simclr) == ([1.0], [0.5])


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_a_view_is_a_function_of_its_seed_alone(pixels, name):
    before = pixels.copy()
    pixels.flags.writeable = False
    torch.manual_seed(1)
    np.random.seed(1)
    first = make_view(pixels, (5, 9, 1), AUGMENTATIONS[name], 64)
    torch.manual_seed(2)
    np.random.seed(2)
    assert np.array_equal(make_view(pixels, (5, 9, 1), AUGMENTATIONS[name], 64), first)
    assert np.array_equal(pixels, before)
    views = {make_view(pixels, (5, position, 0), AUGMENTATIONS[name], 64).tobytes() for position in range(20)}
    assert len(views) == 1 if name == "none" else len(views) >= 18
