"""The pixels that a tower sees in training against those that it sees in evaluation."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from clipsieve.schemas.images import decode_image
from clipsieve.training.data import images
from clipsieve.training.data.augmentations import AUGMENTATIONS
from clipsieve.training.data.images import (
    CROP_RATIO,
    fit_to_tower,
    image_stages,
    make_view,
    needed_side,
    random_crop,
    shrink,
)
from clipsieve.training.data.normalise import Normalise
from tests.training.data.pictures import smooth_picture


def picture(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def coordinates(width, height):
    """An image whose red is the column and whose green is the row."""
    columns, lines = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([columns, lines, 0 * lines], axis=2).astype(np.uint8)


@pytest.mark.parametrize("resize_mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("image", [picture(70, 45), picture(20, 31), picture(33, 33)])
def test_without_augmentation_a_tower_sees_what_open_clip_shows_it(resize_mode, image):
    preprocess_cfg = {
        "size": 24,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "interpolation": "bicubic",
        "resize_mode": resize_mode,
    }
    pixels = fit_to_tower(preprocess_cfg)(image)
    assert pixels.shape == (24, 24, 3) and pixels.dtype == np.uint8
    normalise = Normalise(preprocess_cfg, torch.device("cpu"))
    ours = normalise(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]
    transform = image_transform_v2(PreprocessCfg(**preprocess_cfg), is_train=False)
    theirs = transform(image)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.fixture
def drawn_box(monkeypatch):
    """drawn_box(width, height, area, seed): top, left, height and width of the crop that is drawn."""

    def box(width, height, area, seed):
        cut = random_crop(coordinates(width, height), np.random.default_rng(seed), area, 8)
        return int(cut[0, 0, 1]), int(cut[0, 0, 0]), *cut.shape[:2]

    monkeypatch.setattr(images, "resized", lambda cut, _: cut)
    return box


@pytest.mark.parametrize("area", [(0.08, 1.0), (0.4, 1.0), (0.5, 1.0)])
@pytest.mark.parametrize("width, height", [(64, 64), (90, 60), (20, 120)])
def test_crops_are_drawn_as_torchvision_draws_them(drawn_box, width, height, area):
    """Areas, places and shapes have its distributions: one that does not fit is drawn again, not cut off."""
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(image, [*area], [*CROP_RATIO]) for _ in range(1500)])
    ours = np.array([drawn_box(width, height, area, seed) for seed in range(1500)])
    for of in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2], lambda b: b[:, 0], lambda b: b[:, 1]):
        assert stats.ks_2samp(of(ours), of(theirs)).pvalue > 1e-4


@settings(max_examples=60)
@given(st.integers(60, 250), st.integers(60, 250), st.integers(0, 1 << 20), st.sampled_from([0.08, 0.4, 0.5]))
def test_a_crop_covers_its_share_of_the_image(width, height, seed, share):
    crop = random_crop(coordinates(width, height), np.random.default_rng(seed), (share, 1.0), 64)
    assert crop.shape == (64, 64, 3)
    spans = (np.ptp(crop[..., channel].astype(int)) + 1 for channel in (0, 1))
    columns, lines = (min(span * 64 / 63, limit) for span, limit in zip(spans, (width, height), strict=True))
    # Of an elongated image the crop in the middle may be smaller than the least share.
    least = share * min(1.0, width / height * CROP_RATIO[0], height / width * CROP_RATIO[0])
    assert least * 0.8 <= columns * lines / (width * height) <= 1.0


def test_half_of_the_crops_are_mirrored_and_seeds_decide():
    image = coordinates(100, 80)
    view = partial(make_view, image, augmentation=AUGMENTATIONS["crop_flip"], size=16)
    crops = [view((3, position, 0)) for position in range(400)]
    mirrored = sum(int(crop[8, 0, 0]) > int(crop[8, -1, 0]) for crop in crops)
    assert 150 < mirrored < 250  # five standard deviations about 200
    assert np.array_equal(crops[5], view((3, 5, 0)))
    assert len({crop.tobytes() for crop in crops}) == 400
    assert not np.array_equal(crops[5], view((3, 5, 1)))  # another view of the same sample


def test_shrinking_keeps_the_ratio_and_never_enlarges():
    assert shrink(picture(300, 120), 60).shape == (60, 150, 3)
    assert shrink(picture(30, 20), 60).shape == (20, 30, 3)
    assert shrink(picture(3000, 1), 1).shape == (1, 3000, 3)


@pytest.mark.parametrize("augments", [["none"], ["randaugment"], ["crop_flip"], ["crop", "simclr", "simclr"]])
def test_every_view_ends_in_the_size_of_the_tower(augments):
    cfg = {"size": 16, "resize_mode": "squash", "interpolation": "bicubic"}
    prepare, views = image_stages(augments, cfg)
    prepared = prepare(picture(190, 150))
    seen = [view(prepared, (0, 1, number)) for number, view in enumerate(views)]
    assert all(pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8 for pixels in seen)
    assert len({pixels.tobytes() for pixels in seen}) == len(augments)


def test_what_is_kept_of_an_image_suffices_for_its_smallest_crop():
    for augment, least in (("crop", 0.5), ("crop_flip", 0.4), ("simclr", 0.08)):
        prepare, _ = image_stages([augment], {"size": 32})
        side = min(prepare(picture(900, 800)).shape[:2])
        narrowest = side * np.sqrt(least * CROP_RATIO[0])
        assert 32 <= narrowest < 34


@pytest.mark.parametrize("size, mean", [(32, 1.5), (64, 2), (100, 3)])
def test_a_jpeg_decoded_at_reduced_scale_is_near_the_whole_one(size, mean):
    """The picture has noise in every pixel; of a photograph the difference is less."""
    stream = io.BytesIO()
    Image.fromarray(smooth_picture(256)).save(stream, "JPEG", quality=95)
    whole, reduced = (decode_image(stream.getvalue(), "here", least_side=side) for side in (None, size))
    assert whole.size == (256, 256) and size <= min(reduced.size) < 2 * size
    fit = fit_to_tower({"size": size, "resize_mode": "squash", "interpolation": "bicubic"})
    apart = np.abs(fit(whole).astype(int) - fit(reduced))
    assert 0 < apart.mean() < mean


@pytest.mark.parametrize("augments", [["none"], ["randaugment"], ["crop"], ["crop", "simclr"]])
def test_an_image_is_decoded_as_large_as_its_views_need_it(augments):
    prepare, _ = image_stages(augments, {"size": 32, "resize_mode": "squash", "interpolation": "bicubic"})
    side = needed_side(augments, 32)
    assert prepare(picture(side, side)).shape[:2] == ((side, side) if augments[0] == "crop" else (32, 32))
