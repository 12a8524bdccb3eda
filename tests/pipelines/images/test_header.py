"""Files that claim, or make work for, more than they should: judged by their headers, in bounded work."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from clipsieve.pipelines.images.header import MAX_SCANS
from clipsieve.schemas.outcomes import ErrorClass
from tests.pipelines.images.pictures import FORMATS, chunk, encoded, failure, picture, processed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<!doctype html>",
        b"%PDF-1.7",
        b"<svg/>",
        b"II*\0",
        b"RIFF\0\0\0\0WAVE",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    ],
)
def test_other_content_is_no_image(body):
    assert failure(body) is ErrorClass.NOT_AN_IMAGE


MARKS = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"BM", b"\0\0\0\x18ftypavif"]


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_alone_is_a_damaged_image(mark):
    for rest in (b"", bytes(100), b"\xff" * 100, b"<!doctype html>" * 10):
        assert failure(mark + rest) in (ErrorClass.DECODE_ERROR, ErrorClass.TOO_MANY_PIXELS)


PEAK = """
import sys
from clipsieve.pipelines.images.process import process_image
from clipsieve.schemas.options import DownloadOptions
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
body = sys.stdin.buffer.read()
before = peak()
process_image(body, DownloadOptions())
print(peak() - before)
"""


def peak_of(body):
    """By how many bytes a fresh process grows when it makes an image of ``body``."""
    return int(subprocess.run([sys.executable, "-c", PEAK], input=body, capture_output=True, check=True).stdout)


def with_size(kind, body, width, height):
    """The file with other numbers where its format keeps the canvas's."""
    little = struct.pack("<HH", width % 65536, height % 65536)
    at, size = {
        "GIF": (6, little),
        "BMP": (18, struct.pack("<ii", width, height)),
        "WEBP": (24, struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]),  # of an animation
        "AVIF": (body.find(b"ispe") + 8, struct.pack(">II", width, height)),
        "JPEG": (body.find(b"\xff\xc0") + 5, struct.pack(">HH", height % 65536, width % 65536)),
    }.get(kind, (0, b""))
    if kind == "PNG":
        header = chunk(b"IHDR", struct.pack(">II", width, height) + body[24:29])
        return body[:8] + header + body[33:]
    return body[:at] + size + body[at + len(size) :]


@pytest.mark.parametrize("kind", FORMATS)
def test_pixels_are_counted_before_anything_is_decoded(kind):
    frames = {"save_all": True, "append_images": [Image.new("RGB", (101, 100))]} if kind in ("WEBP", "GIF") else {}
    body = encoded(picture(101, 100), kind, **frames)
    assert failure(body, max_pixels=10_099) is ErrorClass.TOO_MANY_PIXELS
    assert processed(body, max_pixels=10_100)
    # libavif refuses more than 16,384 x 16,384 by itself, as damage.
    for size in ((12_000, 12_000),) if kind == "AVIF" else ((40_000, 40_000), (65_535, 65_535)):
        assert failure(with_size(kind, body, *size)) is ErrorClass.TOO_MANY_PIXELS


def test_a_gif_frame_may_not_be_larger_than_its_canvas_allows():
    body = encoded(picture(20, 20), "GIF")
    at = body.index(b",\0\0\0\0") + 5
    assert failure(body[:at] + b"\xff\xff\xff\xff" + body[at + 4 :]) is ErrorClass.TOO_MANY_PIXELS


def test_a_gif_is_judged_before_its_background_is_laid_out():
    """Of a canvas just over Pillow's limit, whose background is a byte a pixel: growth of less than half of that."""
    side = 13_378
    canvas = side.to_bytes(2, "little") * 2
    frames = [Image.new("P", (64, 64)), Image.new("P", (64, 64), 1)]
    body = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=2)
    at = body.index(b",\0\0\0\0") + 5
    huge = with_size("GIF", body[:at] + canvas + body[at + 4 :], side, side)
    assert peak_of(huge) < side * side / 2
    assert failure(huge) is ErrorClass.TOO_MANY_PIXELS


def test_small_and_long_images_are_refused_where_asked():
    body = encoded(picture(30, 20), "JPEG")
    assert failure(body, min_image_size=21) is ErrorClass.TOO_SMALL
    assert failure(body, max_aspect_ratio=1.49) is ErrorClass.ASPECT_RATIO
    assert processed(body, min_image_size=20, max_aspect_ratio=1.5)
    assert failure(body, max_pixels=599, min_image_size=21) is ErrorClass.TOO_MANY_PIXELS


def scans_repeated(body, scans):
    """A JPEG whose last scan comes again, until it has so many."""
    at, had = body.rindex(b"\xff\xda"), body.count(b"\xff\xda")
    return body[:at] + body[at:-2] * (scans - had + 1) + body[-2:]


def test_a_jpeg_has_a_bounded_number_of_scans():
    body = encoded(picture(64, 64), "JPEG", progressive=True)
    assert processed(scans_repeated(body, MAX_SCANS))
    assert failure(scans_repeated(body, MAX_SCANS + 1)) is ErrorClass.DECODE_ERROR
    assert processed(scans_repeated(body, 80), max_pixels=64 * 64 * 4)
    assert failure(scans_repeated(body, 81), max_pixels=64 * 64 * 4) is ErrorClass.DECODE_ERROR


def test_of_a_sequential_jpeg_the_first_scan_is_the_only_one_read():
    body = encoded(picture(64, 64), "JPEG")
    assert processed(scans_repeated(body, 100 * MAX_SCANS)).image == processed(body).image


def test_junk_and_parts_without_number_end_early():
    jpeg, png = encoded(picture(20, 20), "JPEG"), encoded(picture(20, 20), "PNG")
    for body in (
        jpeg[:3] + bytes(5_000_000),
        jpeg[:2] + b"\xff\xfe\0\2" * 1_000_000 + jpeg[2:],
        jpeg[:2] + b"\xff" * 5_000_000,
        jpeg[:2] + b"\xff\xd0" * 1_000_000 + jpeg[2:],
        png[:33] + chunk(b"tEXt", b"a\0b") * 200_000 + png[33:],
    ):
        assert failure(body) is ErrorClass.DECODE_ERROR


def test_lying_sizes_within_the_cap_are_damage():
    for kind in ("PNG", "BMP"):
        assert failure(with_size(kind, encoded(picture(20, 20), kind), 2000, 2000)) is ErrorClass.DECODE_ERROR


@pytest.mark.parametrize(("kind", "bytes_a_pixel"), [("JPEG", 6.7), ("PNG", 8.4), ("WEBP", 16.9), ("AVIF", 13.0)])
def test_memory_is_a_few_bytes_a_pixel(kind, bytes_a_pixel):
    """Within half of what one more copy of the image would take, three bytes a pixel."""
    pixels = np.zeros((3000, 3000, 3 if kind == "JPEG" else 4), np.uint8)
    body = encoded(pixels, kind, **({"method": 0} if kind == "WEBP" else {}))
    assert processed(body)
    assert peak_of(body) < (bytes_a_pixel + 3 / 2) * 9_000_000
