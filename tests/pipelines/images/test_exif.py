from __future__ import annotations

import io
import json
import struct

import exifread
import numpy as np
import pytest
from PIL import Image

from tests.pipelines.images.pictures import encoded, picture, processed, stored


def tagged(kind, **options):
    exif = Image.Exif()
    exif[0x010E], exif[0x010F], exif[0x0112] = "a caption ", "a maker", 3
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    return encoded(picture(20, 20), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_tags_are_those_of_img2dataset(kind):
    read = exifread.process_file(io.BytesIO(tagged("JPEG")), details=False)
    expected = {name: str(value).strip() for name, value in read.items() if value is not None}
    assert "EXIF DateTimeOriginal" in expected
    assert json.loads(processed(tagged(kind)).exif or "null") == expected
    assert processed(encoded(picture(20, 20), kind)).exif == "{}"


def test_a_png_may_tell_its_exif_after_its_pixels():
    body, end = tagged("PNG"), b"\0\0\0\0IEND"
    at = body.index(b"eXIf") - 4
    size = 12 + int.from_bytes(body[at : at + 4], "big")
    moved = body[:at] + body[at + size :].replace(end, body[at : at + size] + end)
    assert processed(moved) == processed(body)


def jpeg_with(block):
    plain = encoded(picture(20, 30), "JPEG")
    content = b"Exif\0\0" + block
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + plain[2:]


def directory(*entries, following=0):
    """A TIFF of one directory of (tag, type, count, value)."""
    return (
        struct.pack("<2sHIH", b"II", 42, 8, len(entries))
        + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        + struct.pack("<I", following)
    )


HOSTILE = {
    "points at itself": directory(*[(0x8769, 4, 1, 8), (0x8825, 4, 1, 8)] * 500, following=8),
    "overlapping strings": directory(*[(tag, 2, 60_000, 8) for tag in range(1000, 6000)]),
    "long lists": directory(*[(tag, 3, 900, 8) for tag in range(1000, 6000)]),
    "chain": b"II*\0\x08\0\0\0" + b"".join(struct.pack("<HI", 0, 8 + 6 * step) for step in range(1, 10_000)),
    "more entries than bytes": b"II*\0\x08\0\0\0\xff\xff",
    "orientation of no kind": directory((0x0112, 2, 4, 0x41414141)),
    "orientation of nine": directory((0x0112, 3, 1, 9)),
    "orientation of two": directory((0x0112, 3, 2, 0x00060006)),
    "cut off": b"II*\0",
    "empty": b"",
    "other": b"not a TIFF",
}
UNREADABLE = {"points at itself", "overlapping strings", "long lists", "chain", "more entries than bytes"}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_block_is_read_in_bounds_and_leaves_the_picture_alone(name):
    body = jpeg_with(HOSTILE[name])
    done = processed(body)
    assert (done.exif is None) == (name in UNREADABLE)
    assert len(done.exif or "") < 200_000
    assert (stored(body) == stored(encoded(picture(20, 30), "JPEG"))).all()


def test_the_first_of_several_blocks_counts():
    body = jpeg_with(directory((0x0112, 3, 1, 3)))
    second = jpeg_with(directory((0x0112, 3, 1, 6)))
    segment = second[2 : second.index(b"\xff\xe0")]
    at = body.index(b"\xff\xe0")
    both = body[:at] + segment + body[at:]
    assert (stored(both) == np.rot90(stored(encoded(picture(20, 30), "JPEG")), 2)).all()
