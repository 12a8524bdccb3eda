from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipsieve.pipelines.images.errors import ImageError
from clipsieve.pipelines.images.resize import plan_resize, shrink
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import ErrorClass
from tests.pipelines.images.pictures import encoded, failure, picture, processed, stored


def sizes(width, height, mode, is_only_bigger=True):
    options = DownloadOptions(image_size=100, resize_mode=mode, resize_only_if_bigger=is_only_bigger)
    plan = plan_resize(width, height, options)
    return (plan.width, plan.height), (plan.final_width, plan.final_height)


@pytest.mark.parametrize(
    ("mode", "resized", "final"),
    [
        ("keep_ratio", (150, 100), (150, 100)),
        ("center_crop", (150, 100), (100, 100)),
        ("keep_ratio_largest", (100, 67), (100, 67)),
        ("border", (100, 67), (100, 100)),
        ("no", (300, 200), (300, 200)),
    ],
)
def test_the_modes_by_hand(mode, resized, final):
    assert sizes(300, 200, mode) == (resized, final)
    small = ((60, 40), (60, 40))
    assert sizes(60, 40, mode) == small
    assert sizes(60, 40, mode, is_only_bigger=False) == (small if mode == "no" else (resized, final))


@given(st.integers(1, 2000), st.integers(1, 2000), st.sampled_from(["keep_ratio", "keep_ratio_largest"]), st.booleans())
def test_proportions_are_kept_to_half_a_pixel(width, height, mode, is_only_bigger):
    try:
        (new_width, new_height), final = sizes(width, height, mode, is_only_bigger)
    except ImageError as error:
        assert error.error_class is ErrorClass.TOO_MANY_PIXELS
        assert max(width, height) * 100 > 65_500 * min(width, height)
        return
    assert final == (new_width, new_height)
    fitted = min if mode == "keep_ratio" else max
    expected = min(100, fitted(width, height)) if is_only_bigger else 100
    assert fitted(new_width, new_height) == expected
    scale = expected / fitted(width, height)
    assert new_width in (1, round(width * scale))
    assert new_height in (1, round(height * scale))


def test_no_size_on_the_way_is_over_the_caps():
    line = encoded(np.zeros((1, 3000), np.uint8), "PNG")
    assert failure(line, resize_only_if_bigger=False) is ErrorClass.TOO_MANY_PIXELS
    assert failure(line, resize_only_if_bigger=False, resize_mode="center_crop") is ErrorClass.TOO_MANY_PIXELS
    assert processed(line, resize_mode="border").width == 64


@pytest.mark.parametrize(("encode_format", "side"), [("jpg", 65_500), ("webp", 16_383), ("png", 1_000_000)])
def test_a_side_that_the_format_cannot_hold_is_refused(encode_format, side):
    quality = 1
    for length, fits in ((side, True), (side + 1, False)):
        body = encoded(np.zeros((1, length), np.uint8), "PNG")
        if fits:
            assert processed(body, encode_format=encode_format, encode_quality=quality).width == length
        else:
            refused = failure(body, encode_format=encode_format, encode_quality=quality)
            assert refused is ErrorClass.TOO_MANY_PIXELS


def test_a_border_is_white_and_a_crop_is_the_middle():
    body = encoded(np.full((50, 101, 3), 7, np.uint8), "PNG")
    bordered = stored(body, resize_mode="border")
    assert bordered.shape == (64, 64, 3)
    rows = np.flatnonzero((bordered == 7).all(axis=(1, 2)))
    assert (rows[0], len(rows)) == (16, 32)
    assert (np.delete(bordered, rows, axis=0) == 255).all()
    pixels = picture(128, 64)
    cropped = stored(encoded(pixels, "PNG"), resize_mode="center_crop", resize_only_if_bigger=False)
    assert (cropped == pixels[:, 32:96]).all()


def whole_and_part(sides):
    """(side, a side no longer)"""
    return sides.flatmap(lambda side: st.tuples(st.just(side), st.integers(1, side)))


@given(whole_and_part(st.integers(1, 700)), whole_and_part(st.integers(1, 700)), st.booleans(), st.integers(0, 999))
@example((500, 341), (375, 256), True, 0)
@example((512, 256), (512, 256), True, 0)  # by two, where four channels round in another way than three
@example((1025, 512), (1025, 512), True, 0)  # over the size that is widened
@example((600, 200), (601, 200), True, 0)
def test_shrinking_is_opencvs_to_the_bit(width, height, is_colour, seed):
    shape = (height[0], width[0], 3) if is_colour else (height[0], width[0])
    pixels = np.random.default_rng(seed).choice(np.array([0, 1, 127, 128, 254, 255], np.uint8), shape)
    expected = cv2.resize(pixels, (width[1], height[1]), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(shrink(pixels, width[1], height[1]), expected)
