from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from clipsieve.pipelines.images.phash import perceptual_hash
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import ErrorClass
from tests.pipelines.images.pictures import FORMATS, encoded, failure, photograph, picture, processed, stored

ORIENTATION = 0x0112


@given(st.integers(1, 400), st.integers(1, 400), st.integers(8, 80))
@settings(max_examples=30, deadline=None)
def test_the_shorter_side_is_the_asked_one_and_only_shrinks(width, height, side):
    done = processed(encoded(picture(width, height), "JPEG"), image_size=side)
    assert min(done.width, done.height) == min(side, width, height)
    assert abs(done.width * height - done.height * width) <= max(width, height)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("JPEG", {}), ("WEBP", {"lossless": True})])
def test_exif_orientation_is_applied_as_pillow_and_opencv_do(kind, options, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    body = encoded(picture(90, 70), kind, exif=exif, **options)
    if kind == "JPEG":
        turned = np.asarray(cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR_RGB))
    else:
        turned = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(body))))
    for mode in ("keep_ratio", "center_crop", "no"):
        assert (stored(body, resize_mode=mode) == stored(encoded(turned, "PNG"), resize_mode=mode)).all()
    done = processed(body)
    assert (done.original_width, done.original_height) == (90, 70)


def test_transparency_is_laid_on_white():
    clear = np.zeros((32, 32, 4), np.uint8)
    for body in (
        encoded(clear, "PNG"),
        encoded(clear, "WEBP", lossless=True),
        encoded(Image.fromarray(clear).quantize(4), "PNG"),
        encoded(Image.fromarray(clear[..., :2].copy(), "LA"), "PNG"),
        encoded(Image.new("P", (32, 32)), "GIF", transparency=0),
    ):
        assert (stored(body) == 255).all()


def test_every_shade_of_transparency_is_rounded_rightly():
    colour, alpha = np.meshgrid(np.arange(256), np.arange(256))
    body = encoded(np.dstack([colour, colour, colour, alpha]).astype(np.uint8), "PNG")
    # colour * alpha / 255 + 255 - alpha, rounded, in whole numbers
    expected = (2 * colour * alpha + 255) // 510 + 255 - alpha
    assert (stored(body, resize_mode="no") == expected[..., None]).all()


def test_colour_models_and_depths_become_eight_bits_a_colour():
    image = Image.fromarray(picture(48, 48))
    grey, palette = image.convert("L"), image.quantize(64)
    bits = grey.convert("1")
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 256 + 77)
    for body, plain in (
        (encoded(palette, "PNG"), palette.convert("RGB")),
        (encoded(palette, "GIF"), palette.convert("RGB")),
        (encoded(sixteen, "PNG"), grey),
        (encoded(sixteen, "PNG", transparency=77), grey),
        (encoded(bits, "PNG"), bits.convert("L")),
    ):
        assert processed(body).image == processed(encoded(plain, "PNG")).image
    cmyk = stored(encoded(image.convert("CMYK"), "JPEG", quality=100))
    assert np.abs(cmyk.astype(int) - np.asarray(image)).mean() < 4


def test_grey_stays_grey_and_large_images_are_read_in_bands():
    for channels, mode in ((1, "L"), (3, "RGB")):
        pixels = picture(1000, 700, channels)
        done = processed(encoded(pixels, "PNG"), resize_mode="no", encode_format="png", encode_quality=1)
        image = Image.open(io.BytesIO(done.image))
        assert image.mode == mode
        assert (np.asarray(image) == pixels).all()


def test_of_a_moving_picture_the_first_frame_is_kept():
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        red = stored(encoded(frames[0], kind, save_all=True, append_images=frames[1:])).mean(axis=(0, 1))
        assert red[0] > 240
        assert max(red[1:]) < 15


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_image_is_an_error(kind):
    exif = Image.Exif()
    exif[0x010E] = "an end marker \xff\xd9 in a tag is not the image's"
    body = encoded(picture(200, 200), kind, **({"exif": exif} if kind == "JPEG" else {}))
    for length in (len(body) // 3, len(body) // 2, len(body) * 9 // 10):
        assert failure(body[:length]) is ErrorClass.DECODE_ERROR
    assert processed(body + b"trailing bytes")


@pytest.mark.parametrize("mode", ["keep_ratio", "center_crop", "border", "keep_ratio_largest", "no"])
def test_the_fast_path_is_near_the_exact_one_and_of_its_size(mode):
    for size in ((500, 375), (280, 300), (620, 700), (1030, 1000), (60, 40)):
        body = encoded(photograph(*size), "JPEG", quality=92)
        exact, fast = (stored(body, resize_mode=mode, decode=decode, image_size=128) for decode in ("exact", "fast"))
        assert fast.shape == exact.shape
        assert cv2.PSNR(exact, fast) >= 35, size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_fast_path_turns_grey_and_colour(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    for image in (Image.fromarray(photograph(500, 375)), Image.fromarray(photograph(500, 375)).convert("L")):
        body = encoded(image, "JPEG", quality=92, exif=exif)
        assert cv2.PSNR(stored(body), stored(body, decode="fast")) >= 35


def test_the_fast_path_leaves_other_formats_exact():
    for kind in ("PNG", "WEBP", "GIF", "BMP"):
        body = encoded(picture(300, 200), kind)
        assert processed(body, decode="fast") == processed(body)


def test_the_hash_is_of_the_stored_pixels_and_outlives_their_encoding():
    for size in ((100, 80), (500, 375)):
        body = encoded(photograph(*size), "JPEG")
        done = processed(body, image_size=256)
        of_stored = perceptual_hash(stored(body, image_size=256))
        assert len(done.phash) == 16
        assert bin(int(done.phash, 16) ^ int(of_stored, 16)).count("1") <= (0 if size == (100, 80) else 2)


def test_the_options_of_a_recipe_are_enough():
    assert processed(encoded(picture(300, 200), "JPEG"), **DownloadOptions().model_dump()).height == 200
