from __future__ import annotations

import io
import json
import os
import struct
import zlib

import cv2
import exifread
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipelines.images import ImageFailure, ProcessedImage, process_image
from pipelines.phash import perceptual_hash
from schemas.outcomes import ErrorClass
from schemas.recipe import DownloadOptions

OPTIONS = DownloadOptions(image_size=64)
ORIENTATION = 0x0112


def picture(width, height, channels=3):
    """Smooth colours with edges, as a photograph has."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (3 + c)) * 90 + np.cos(columns / (5 + c)) * 30 + 128 for c in range(channels)]
    pixels = np.stack(waves, axis=2).clip(0, 255).astype(np.uint8)
    pixels[height // 3 :, width // 2 :] = 255 - pixels[height // 3 :, width // 2 :]
    return pixels if channels > 1 else pixels[..., 0]


def encoded(pixels, kind, **options):
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, kind, **options)
    return stream.getvalue()


def processed(body, options=OPTIONS):
    done = process_image(body, options)
    assert isinstance(done, ProcessedImage), done
    return done


def stored(body):
    """The stored image's RGB pixels."""
    done = processed(body)
    image = Image.open(io.BytesIO(done.jpeg))
    assert image.format == "JPEG"
    assert image.size == (done.width, done.height)
    assert not image.getexif()
    return np.asarray(image.convert("RGB"))


def failure(body, **options):
    failed = process_image(body, DownloadOptions(**options))
    assert isinstance(failed, ImageFailure)
    assert "\n" not in failed.message
    return failed.error_class


@pytest.fixture(scope="module")
def img2dataset():
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else the import asks the network for news
    from img2dataset.resizer import Resizer

    return Resizer(64, "keep_ratio", resize_only_if_bigger=True, encode_quality=OPTIONS.encode_quality)


SIZES = [(64, 64), (65, 64), (300, 200), (97, 333), (333, 97), (40, 500), (20, 30), (1, 1), (127, 129)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("kind", "channels", "options"),
    [
        ("JPEG", 3, {"quality": 90}),
        ("JPEG", 3, {"quality": 60, "progressive": True, "subsampling": 0}),
        ("JPEG", 1, {}),
        ("PNG", 3, {}),
        ("PNG", 4, {}),
        ("PNG", 1, {}),
        ("WEBP", 3, {}),
        ("BMP", 3, {}),
    ],
)
def test_the_stored_bytes_are_those_of_img2dataset(img2dataset, size, kind, channels, options):
    body = encoded(picture(size[0], size[1], channels), kind, **options)
    jpeg, width, height, original_width, original_height, error = img2dataset(io.BytesIO(body))
    done = processed(body)
    assert error is None
    assert (done.width, done.height) == (width, height)
    assert (done.original_width, done.original_height) == (original_width, original_height) == size
    assert done.jpeg == jpeg


@given(st.integers(1, 400), st.integers(1, 400), st.integers(8, 80))
@settings(max_examples=30, deadline=None)
def test_the_shorter_side_is_the_asked_one_and_only_shrinks(width, height, side):
    done = processed(encoded(picture(width, height), "JPEG"), DownloadOptions(image_size=side))
    assert min(done.width, done.height) == min(side, width, height)
    assert abs(done.width * height - done.height * width) <= max(width, height)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("JPEG", {}), ("WEBP", {"lossless": True})])
def test_exif_orientation_is_applied_as_pillow_and_opencv_do(kind, options, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    body = encoded(picture(60, 40), kind, exif=exif, **options)
    if kind == "JPEG":
        turned = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR_RGB)
    else:
        turned = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(body))))
    done = processed(body)
    assert done.jpeg == processed(encoded(turned, "PNG")).jpeg
    assert (done.original_width, done.original_height) == (60, 40)


def test_transparency_is_laid_on_white():
    clear = np.zeros((32, 32, 4), np.uint8)
    palette = Image.fromarray(clear).quantize(4)
    grey = Image.fromarray(clear[..., :2].copy(), "LA")
    for body in (
        encoded(clear, "PNG"),
        encoded(clear, "WEBP", lossless=True),
        encoded(palette, "PNG"),
        encoded(grey, "PNG"),
        encoded(Image.new("P", (32, 32)), "GIF", transparency=0),
    ):
        assert (stored(body) == 255).all()


def test_colour_models_and_depths_become_eight_bits_a_colour():
    image = Image.fromarray(picture(48, 48))
    grey, palette = image.convert("L"), image.quantize(64)
    bits = grey.convert("1")
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 256 + 77)
    for body, plain in (
        (encoded(palette, "PNG"), palette.convert("RGB")),
        (encoded(palette, "GIF"), palette.convert("RGB")),
        (encoded(sixteen, "PNG"), grey),
        (encoded(bits, "PNG"), bits.convert("L")),
    ):
        assert processed(body).jpeg == processed(encoded(plain, "PNG")).jpeg
    cmyk = stored(encoded(image.convert("CMYK"), "JPEG", quality=100))
    assert np.abs(cmyk.astype(int) - stored(encoded(image, "PNG"))).mean() < 4


def test_of_a_moving_picture_the_first_frame_is_kept():
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP"):
        red = stored(encoded(frames[0], kind, save_all=True, append_images=frames[1:])).mean(axis=(0, 1))
        assert red[0] > 240
        assert max(red[1:]) < 15


@pytest.mark.parametrize(
    "body",
    [b"", b"<!doctype html>", b"%PDF-1.7", b"<svg/>", b"II*\0", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x18ftypavif"],
)
def test_other_content_is_no_image(body):
    assert failure(body) is ErrorClass.NOT_AN_IMAGE


def png_header(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    length_and_crc = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + length_and_crc + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", 0)


def test_pixels_are_counted_before_anything_is_decoded():
    assert failure(png_header(40_000, 40_000)) is ErrorClass.TOO_MANY_PIXELS
    assert failure(encoded(picture(101, 100), "PNG"), max_pixels=10_099) is ErrorClass.TOO_MANY_PIXELS
    assert processed(encoded(picture(101, 100), "PNG"), DownloadOptions(max_pixels=10_100))


def test_a_side_that_jpeg_cannot_hold_is_refused():
    assert failure(encoded(np.zeros((1, 65_501), np.uint8), "PNG")) is ErrorClass.TOO_MANY_PIXELS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_truncated_image_is_an_error(kind):
    exif = Image.Exif()
    exif[0x010E] = "an end marker \xff\xd9 in a tag is not the image's"
    body = encoded(picture(200, 200), kind, **({"exif": exif} if kind == "JPEG" else {}))
    for length in (len(body) // 3, len(body) // 2, len(body) * 9 // 10):
        assert failure(body[:length]) is ErrorClass.DECODE_ERROR
    assert processed(body + b"trailing bytes")


SAMPLES = [encoded(picture(24, 16), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")]
SAMPLES += [encoded(Image.fromarray(picture(24, 16)).quantize(8), "PNG"), encoded(picture(24, 16, 4), "WEBP")]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_damaged_bytes_never_raise_and_end_alike_twice(body, data):
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    first, second = (process_image(bytes(damaged), DownloadOptions(max_pixels=10**6)) for _ in range(2))
    assert first == second


def test_the_hash_is_that_of_the_stored_jpeg():
    done = processed(encoded(picture(300, 200), "JPEG"))
    assert done.phash == perceptual_hash(np.asarray(Image.open(io.BytesIO(done.jpeg))))
    assert len(done.phash) == 16


def test_exif_tags_are_those_of_img2dataset():
    exif = Image.Exif()
    exif[0x010E], exif[0x010F] = "a caption ", "a maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    body = encoded(picture(20, 20), "JPEG", exif=exif)
    tags = exifread.process_file(io.BytesIO(body), details=False)
    expected = {name: str(value).strip() for name, value in tags.items() if value is not None}
    assert json.loads(processed(body).exif) == expected
    assert "Image Make" in expected
    assert processed(encoded(picture(20, 20), "JPEG")).exif == "{}"
