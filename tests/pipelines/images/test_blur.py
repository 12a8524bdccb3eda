from __future__ import annotations

import io
import os

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from clipsieve.schemas.outcomes import ErrorClass
from tests.pipelines.images.pictures import encoded, failure, picture, processed, stored

BOXES = [[0.2, 0.3, 0.5, 0.6], [0.7, 0.1, 0.95, 0.35]]


@pytest.fixture(scope="module")
def resizer():
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else the import asks the network for news
    from img2dataset.blurrer import BoundingBoxBlurrer
    from img2dataset.resizer import Resizer

    return lambda *options: Resizer(64, *options, blurrer=BoundingBoxBlurrer())


@pytest.mark.parametrize("mode", ["keep_ratio", "center_crop", "border", "keep_ratio_largest", "no"])
def test_boxes_are_blurred_as_img2dataset_does(resizer, mode):
    for size, channels, is_only_bigger in (((150, 110), 3, True), ((150, 110), 1, True), ((50, 40), 3, False)):
        body = encoded(picture(*size, channels), "PNG")
        done = processed(body, BOXES, resize_mode=mode, resize_only_if_bigger=is_only_bigger)
        assert done.image == resizer(mode, is_only_bigger)(io.BytesIO(body), BOXES)[0]
        assert done.image != processed(body, resize_mode=mode, resize_only_if_bigger=is_only_bigger).image


def test_blurring_is_the_same_twice_whatever_the_state_of_random():
    body = encoded(picture(150, 110), "JPEG")
    first = processed(body, BOXES)
    np.random.seed(7)
    assert processed(body, BOXES) == first


def test_boxes_come_as_lists_arrays_or_arrow_and_may_be_none():
    body = encoded(picture(150, 110), "JPEG")
    blurred = processed(body, BOXES)
    assert processed(body, np.array(BOXES)) == blurred
    assert processed(body, pa.array([BOXES])[0].as_py()) == blurred
    assert processed(body, []) == processed(body, None) == processed(body)


@pytest.mark.parametrize(
    "boxes",
    ["[[0, 0, 1, 1]]", [[0, 0, 1]], [[0, 0, 1, None]], [[0, 0, float("nan"), 1]], [[0.5, 0, 0.4, 1]], [0.1], 3],
)
def test_boxes_that_cannot_be_read_refuse_the_image(boxes):
    assert failure(encoded(picture(50, 40), "JPEG"), boxes) is ErrorClass.DECODE_ERROR


def test_a_box_over_the_edge_ends_at_it():
    body = encoded(picture(90, 70), "JPEG")
    assert processed(body, [[-1e30, 0.5, 1e30, 9]]) == processed(body, [[0, 0.5, 1, 1]])


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_picture_is_blurred_where_either_reading_of_the_box_falls(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8), "PNG", exif=exif)
    box = [0.1, 0.1, 0.3, 0.2]
    changed = np.abs(stored(body, [box]).astype(int) - stored(body)).max(axis=2) > 20
    where = np.zeros((60, 60), np.uint8)
    where[6:12, 6:18] = 255
    turned = stored(encoded(where, "PNG", exif=exif))[..., 0] > 0
    assert changed[where > 0].mean() > 0.5
    assert changed[turned].mean() > 0.5
    assert changed[30, 30] == 0
