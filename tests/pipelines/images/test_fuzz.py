"""Mutated files of every format: an image within the caps or a failure with its class, never an exception."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipsieve.pipelines.images.process import ImageFailure, process_image
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import Status
from tests.pipelines.images.pictures import FORMATS, encoded, picture

MAX_PIXELS = 10**6


def seeds(kind):
    """Small files that between them have every part of a format."""
    colour, clear = Image.fromarray(picture(24, 16)), Image.fromarray(picture(24, 16, 4))
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a caption", 6
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    frames = {"save_all": True, "append_images": [colour.rotate(180)]}
    return {
        "JPEG": [
            encoded(colour, "JPEG", exif=exif, comment=b"a comment"),
            encoded(colour, "JPEG", progressive=True),
            encoded(colour.convert("CMYK"), "JPEG"),
            encoded(colour.convert("L"), "JPEG", restart_marker_rows=1),
        ],
        "PNG": [
            encoded(clear, "PNG", exif=exif, icc_profile=bytes(50)),
            encoded(colour.quantize(8), "PNG", transparency=1),
            encoded(np.asarray(colour.convert("L")).astype(np.uint16) * 256, "PNG"),
            encoded(colour, "PNG", **frames),
        ],
        "WEBP": [
            encoded(clear, "WEBP", exif=exif),
            encoded(colour, "WEBP", lossless=True),
            encoded(colour, "WEBP", **frames),
        ],
        "GIF": [encoded(colour.quantize(8), "GIF", **frames), encoded(colour.quantize(8), "GIF", transparency=1)],
        "BMP": [encoded(colour, "BMP"), encoded(colour.quantize(8), "BMP"), encoded(clear, "BMP")],
        "AVIF": [
            encoded(clear, "AVIF", exif=exif),
            encoded(colour.convert("L"), "AVIF"),
            encoded(colour, "AVIF", **frames),
        ],
    }[kind]


SEEDS = {kind: seeds(kind) for kind in FORMATS}
EXTREMES = [0, 1, 0x7F, 0x80, 0xFF]
OPTIONS = [
    DownloadOptions(max_pixels=MAX_PIXELS, image_size=8),
    DownloadOptions(max_pixels=MAX_PIXELS, image_size=8, decode="fast", resize_mode="border"),
    DownloadOptions(max_pixels=MAX_PIXELS, image_size=8, skip_reencode=True, resize_mode="no", encode_format="webp"),
    DownloadOptions(max_pixels=MAX_PIXELS, image_size=32, resize_only_if_bigger=False, resize_mode="center_crop"),
]


@st.composite
def mutated(draw, kind):
    """One of the format's seeds with bytes flipped, lengths made extreme, and parts cut, doubled or spliced in."""
    body = bytearray(draw(st.sampled_from(SEEDS[kind])))
    for _ in range(draw(st.integers(1, 4))):
        # Half of the places lie in the header, where the lengths and sizes are.
        at = draw(st.integers(0, min(len(body), 64)) | st.integers(0, len(body)))
        change = draw(st.sampled_from(["byte", "word", "cut", "double", "splice", "truncate"]))
        if change == "byte":
            body[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif change == "word":
            body[at : at + 4] = bytes([draw(st.sampled_from(EXTREMES))]) * draw(st.sampled_from([2, 4]))
        elif change == "cut":
            del body[at : at + draw(st.integers(1, 20))]
        elif change == "double":
            body[at:at] = body[at : at + draw(st.integers(1, 40))]
        elif change == "splice":
            donor = draw(st.sampled_from(SEEDS[draw(st.sampled_from(FORMATS))]))
            start = draw(st.integers(0, len(donor)))
            body[at:at] = donor[start : start + draw(st.integers(1, 60))]
        else:
            del body[at:]
    return bytes(body)


@pytest.mark.parametrize("kind", FORMATS)
def test_no_mutation_raises_or_passes_the_caps(kind):
    @settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @given(mutated(kind), st.sampled_from(OPTIONS))
    def check(body, options):
        first, second = (process_image(body, options) for _ in range(2))
        assert first == second
        if isinstance(first, ImageFailure):
            assert first.error_class.status is Status.FAILED_TO_RESIZE
            assert first.message
            assert "\n" not in first.message
        else:
            assert first.original_width * first.original_height <= MAX_PIXELS
            assert first.width * first.height <= MAX_PIXELS
            assert Image.open(io.BytesIO(first.image)).size == (first.width, first.height)

    check()
