"""`process_image` against img2dataset's own resizer: the same bytes, but where its handling is wrong."""

from __future__ import annotations

import io
import os
from itertools import product

import numpy as np
import pytest
from PIL import Image

from clipsieve.pipelines.images.process import ProcessedImage, process_image
from clipsieve.schemas.options import DownloadOptions
from tests.pipelines.images.pictures import encoded, picture, processed

MODES = ("keep_ratio", "center_crop", "border", "keep_ratio_largest", "no")
ENCODINGS = (("jpg", 95), ("jpg", 50), ("png", 3), ("webp", 80))
SIZES = ((64, 64), (65, 64), (300, 200), (97, 333), (40, 500), (20, 30), (1, 1), (127, 129), (5, 400))


@pytest.fixture(scope="module")
def resizer():
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else the import asks the network for news
    from img2dataset.resizer import Resizer

    return Resizer


def bodies(width, height):
    """The kinds of file that img2dataset reads as they are meant."""
    colour, grey, clear = picture(width, height), picture(width, height, 1), picture(width, height, 4)
    palette = Image.fromarray(colour).quantize(32)
    return {
        "jpeg": encoded(colour, "JPEG", quality=90),
        "progressive jpeg": encoded(colour, "JPEG", quality=60, progressive=True, subsampling=0),
        "grey jpeg": encoded(grey, "JPEG"),
        "cmyk jpeg": encoded(Image.fromarray(colour).convert("CMYK"), "JPEG"),
        "png": encoded(colour, "PNG"),
        "clear png": encoded(clear, "PNG"),
        "grey png": encoded(grey, "PNG"),
        "clear grey png": encoded(Image.fromarray(clear).convert("LA"), "PNG"),
        "palette png": encoded(palette, "PNG"),
        "clear palette png": encoded(palette, "PNG", transparency=0),
        "png of one bit": encoded(Image.fromarray(grey).convert("1"), "PNG"),
        "webp": encoded(colour, "WEBP"),
        "lossless webp": encoded(colour, "WEBP", lossless=True),
        "clear webp": encoded(clear, "WEBP"),
        "gif": encoded(palette, "GIF"),
        "clear gif": encoded(palette, "GIF", transparency=0),
        "bmp": encoded(colour, "BMP"),
        "grey bmp": encoded(grey, "BMP"),
    }


def same(resizer, body, mode="keep_ratio", is_only_bigger=True, encode_format="jpg", quality=95, reference=None):
    """Whether both make the same bytes and sizes of ``body``, or img2dataset of ``reference``."""
    options = DownloadOptions(
        image_size=64,
        resize_mode=mode,
        resize_only_if_bigger=is_only_bigger,
        encode_format=encode_format,
        encode_quality=quality,
    )
    theirs = resizer(64, mode, is_only_bigger, encode_format=encode_format, encode_quality=quality)
    *expected, error = theirs(io.BytesIO(reference or body))
    assert error is None
    done = process_image(body, options)
    assert isinstance(done, ProcessedImage), done
    return [done.image, done.width, done.height, done.original_width, done.original_height] == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_file_is_stored_in_the_same_bytes(resizer, mode, size):
    for name, body in bodies(*size).items():
        for is_only_bigger in (True, False):
            assert same(resizer, body, mode, is_only_bigger), (name, is_only_bigger)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_the_same_bytes(resizer, encoding):
    files = bodies(150, 100)
    for mode, name in product(MODES, ("jpeg", "grey jpeg", "clear png", "webp")):
        assert same(resizer, files[name], mode, False, *encoding), (mode, name)


def test_the_limits_refuse_what_img2dataset_refuses(resizer):
    for size in product((9, 10, 20, 40), repeat=2):
        body = encoded(picture(*size), "PNG")
        theirs = resizer(64, "keep_ratio", True, min_image_size=10, max_aspect_ratio=2, max_image_area=800)
        done = process_image(body, DownloadOptions(min_image_size=10, max_aspect_ratio=2, max_pixels=800))
        assert hasattr(done, "image") == (theirs(io.BytesIO(body))[-1] is None), size


def test_skip_reencode_keeps_the_same_files(resizer):
    for encode_format, kind in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")):
        body = encoded(picture(50, 40), kind)
        quality = 9 if encode_format == "png" else 95
        settings = {"encode_format": encode_format, "encode_quality": quality, "skip_reencode": True}
        theirs = resizer(64, "keep_ratio", True, **settings)
        done = processed(body, **settings)
        assert done.image == theirs(io.BytesIO(body))[0] == body


# From here on ours differs, and is what img2dataset makes of the picture as a viewer shows it.


def test_exif_orientation_is_applied(resizer):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = encoded(np.rot90(picture(90, 70), -1).copy(), "PNG")
    body = encoded(picture(90, 70), "PNG", exif=exif)
    done = processed(body)
    assert done.image == processed(upright).image
    assert (done.original_width, done.original_height) == (90, 70)


def test_sixteen_bits_lose_their_lower_eight(resizer):
    grey = picture(90, 70, 1)
    assert same(resizer, encoded(grey.astype(np.uint16) * 256 + 77, "PNG"), reference=encoded(grey, "PNG"))


def test_a_transparent_grey_is_white(resizer):
    grey = picture(90, 70, 1)
    white = np.where(grey == 100, 255, grey).astype(np.uint8)
    three_channels = encoded(np.dstack([white] * 3), "PNG")
    assert same(resizer, encoded(grey, "PNG", transparency=100), reference=three_channels)
