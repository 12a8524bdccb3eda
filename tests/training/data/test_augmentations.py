"""Augmentations against PIL and torchvision, and that they draw from their generator alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import v2

from clipsieve.training.data.augmentations import AUGMENTATIONS, blur, flip, grey, jitter
from clipsieve.training.data.images import make_view
from clipsieve.training.data.randaugment import OPERATIONS, randaugment


@pytest.fixture
def pixels():
    """A smooth image of many colours with some noise, uint8[3, 64, 64]."""
    line = np.linspace(40, 200, 64)
    planes = np.stack([np.add.outer(line, 0 * line), np.add.outer(0 * line, line), np.add.outer(line, line) / 2])
    noise = np.random.default_rng(0).integers(-20, 20, planes.shape)
    return torch.from_numpy((planes + noise).astype(np.uint8))


def rng(seed=0):
    return np.random.default_rng(seed)


def pil(pixels):
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def tensor(image):
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


@pytest.mark.parametrize(
    "name, reference",
    [
        ("auto_contrast", ImageOps.autocontrast),
        ("equalize", ImageOps.equalize),
        ("invert", ImageOps.invert),
        ("posterize", lambda image: ImageOps.posterize(image, 4)),
        ("solarize", lambda image: ImageOps.solarize(image, 256)),
        ("color", lambda image: ImageEnhance.Color(image).enhance(1.9)),
        ("contrast", lambda image: ImageEnhance.Contrast(image).enhance(1.9)),
        ("brightness", lambda image: ImageEnhance.Brightness(image).enhance(1.9)),
    ],
)
def test_an_operation_is_pils(pixels, name, reference):
    ours, theirs = OPERATIONS[name](pixels, rng()).int(), tensor(reference(pil(pixels))).int()
    assert (ours - theirs).abs().max() <= 2  # a rounding of the grey level, 1.9 - 1 times


def test_sharpness_is_pils_within_the_borders(pixels):
    ours = OPERATIONS["sharpness"](pixels, rng()).int()
    theirs = tensor(ImageEnhance.Sharpness(pil(pixels)).enhance(1.9)).int()
    assert (ours - theirs).abs().max() <= 1


@pytest.mark.parametrize("name, axis", [("translate_x", -1), ("translate_y", -2)])
def test_a_translation_moves_by_100_of_224_and_leaves_grey(pixels, name, axis):
    by = round(64 * 100 / 224)
    moved = {}
    for seed in range(10):
        out = OPERATIONS[name](pixels, rng(seed)).movedim(axis, -1)
        moved[out.numpy().tobytes()] = out
    whole = pixels.movedim(axis, -1)
    right, left = sorted(moved.values(), key=lambda out: not (out[..., :by] == 128).all())
    assert len(moved) == 2
    assert (right[..., :by] == 128).all() and torch.equal(right[..., by:], whole[..., :-by])
    assert (left[..., -by:] == 128).all() and torch.equal(left[..., :-by], whole[..., by:])


@pytest.mark.parametrize(
    "name, coefficients",
    [
        ("rotate", lambda sign: (np.sqrt(0.75), sign * 0.5, -sign * 0.5, np.sqrt(0.75))),
        ("shear_x", lambda sign: (1, sign * 0.3, 0, 1)),
        ("shear_y", lambda sign: (1, 0, sign * 0.3, 1)),
    ],
)
def test_turns_and_shears_are_pils_about_the_centre(pixels, name, coefficients):
    references = []
    for sign in (-1, 1):
        matrix = np.array(coefficients(sign)).reshape(2, 2)
        shift = [32, 32] - matrix @ [32, 32]
        affine = (*matrix[0], shift[0], *matrix[1], shift[1])
        transform = partial(pil(pixels).transform, (64, 64), Image.Transform.AFFINE, affine, fillcolor="#808080")
        references.append(tensor(transform(Image.Resampling.NEAREST)))
    for seed in range(6):
        ours = OPERATIONS[name](pixels, rng(seed))
        equal = max((ours == reference).float().mean().item() for reference in references)
        assert equal > 0.97  # nearest neighbours on a border between two pixels may differ


def test_a_cut_out_is_a_grey_square_and_solarize_add_brightens_the_dark(pixels):
    cut = OPERATIONS["cutout"](pixels, rng(3))
    changed = (cut != pixels).any(0)
    rows, columns = (torch.nonzero(changed.any(axis)).flatten() for axis in (1, 0))
    assert len(rows) <= 23 and len(columns) <= 23  # 80 of 224 px, cut at the border
    box = cut[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (box == 128).all()
    expected = np.where(pixels.numpy() < 128, np.minimum(pixels.numpy().astype(int) + 110, 255), pixels.numpy())
    assert np.array_equal(OPERATIONS["solarize_add"](pixels, rng()).numpy(), expected)


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
        randaugment(pixels, rng(seed))
    assert len(counts) == 16 and sum(counts.values()) == 3200
    assert all(abs(count - 200) < 5 * np.sqrt(200) for count in counts.values())


def test_jitter_stays_within_torchvisions_ranges(pixels):
    """Of a grey image only brightness is left: a factor of 0.6 to 1.4, in 8 of 10 images."""
    flat = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    values = np.array([jitter(flat, rng(seed))[0, 0, 0].item() for seed in range(600)])
    # Two roundings down, of brightness and then of contrast about the mean.
    assert 58 <= values.min() < 64 and 136 < values.max() <= 140
    assert 0.15 < (values == 100).mean() < 0.25
    assert len({jitter(pixels, rng(seed)).numpy().tobytes() for seed in range(20)}) > 12


@pytest.mark.parametrize("operation, share", [(flip, 0.5), (grey, 0.2), (blur, 0.5)])
def test_operations_are_done_as_often_as_they_should(pixels, operation, share):
    done = np.mean([not torch.equal(operation(pixels, rng(seed)), pixels) for seed in range(600)])
    assert abs(done - share) < 5 * np.sqrt(share * (1 - share) / 600)


def test_grey_and_flip_are_torchvisions(pixels):
    seed = next(seed for seed in range(100) if rng(seed).random() < 0.2)
    assert torch.equal(grey(pixels, rng(seed)), v2.Grayscale(3)(pixels))
    assert torch.equal(flip(pixels, rng(seed)), pixels.flip(-1))


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_a_view_is_a_function_of_its_seed_alone(pixels, name):
    image = pixels.permute(1, 2, 0).contiguous().numpy()
    before = image.copy()
    torch.manual_seed(1)
    np.random.seed(1)
    first = make_view(image, (5, 9, 1), AUGMENTATIONS[name], 64)
    torch.manual_seed(2)
    np.random.seed(2)
    assert np.array_equal(make_view(image, (5, 9, 1), AUGMENTATIONS[name], 64), first)
    assert np.array_equal(image, before)
    views = {make_view(image, (5, position, 0), AUGMENTATIONS[name], 64).tobytes() for position in range(20)}
    assert len(views) == 1 if name == "none" else len(views) >= 18
