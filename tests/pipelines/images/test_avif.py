"""AVIF as Pillow reads it, within the caps that other formats have."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from clipsieve.pipelines.images.av1 import decoded_pixels
from clipsieve.pipelines.images.avif import coded_pixels, is_avif, tamed
from clipsieve.pipelines.images.process import ImageFailure, process_image
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import ErrorClass
from tests.pipelines.images.pictures import encoded, failure, picture, processed, stored
from tests.pipelines.images.test_header import peak_of, with_size

EXACT = {"quality": 100, "subsampling": "4:4:4"}
COLOUR = Image.fromarray(picture(90, 70))
MOVING = encoded(COLOUR, "AVIF", save_all=True, append_images=[Image.new("RGB", (90, 70))], **EXACT)


def ftyp(*brands: bytes) -> bytes:
    return struct.pack(">I", 8 + 4 * len(brands)) + b"ftyp" + b"".join(brands)


def test_avif_is_told_by_any_of_its_brands() -> None:
    for brands in ([b"avif", b"\0\0\0\0"], [b"mif1", b"\0\0\0\0", b"miaf", b"avif"], [b"avis", b"\0\0\0\0", b"msf1"]):
        assert is_avif(ftyp(*brands) + bytes(10))
    for brands in ([b"heic", b"\0\0\0\0", b"mif1"], [b"isom", b"\0\0\0\0", b"mp42"], [b"mif1", b"\0\0\0\0"], []):
        assert not is_avif(ftyp(*brands) + b"avif")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_pixels_are_pillows_on_white(mode: str) -> None:
    image = Image.fromarray(picture(40, 30, 4)).convert(mode if mode != "P" else "RGB")
    body = encoded(image.quantize(16) if mode == "P" else image, "AVIF", **EXACT)
    shown = Image.open(io.BytesIO(body)).convert("RGBA")
    expected = np.asarray(Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB"))
    assert np.abs(stored(body, resize_mode="no").astype(int) - expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_boxes_say(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a caption"
    body = encoded(COLOUR, "AVIF", exif=exif, **EXACT)
    turned = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(body))))
    assert (stored(body, resize_mode="no") == turned).all()


def test_of_a_sequence_the_still_picture_is_kept() -> None:
    assert MOVING[8:12] == b"avis"
    assert (stored(MOVING, resize_mode="no") == np.asarray(Image.open(io.BytesIO(MOVING)).convert("RGB"))).all()


def test_avif_is_stored_in_the_format_asked_for_and_never_as_it_came() -> None:
    body = encoded(COLOUR, "AVIF")
    for name, kind, quality in (("jpg", "JPEG", 95), ("png", "PNG", 9), ("webp", "WEBP", 95)):
        done = processed(body, encode_format=name, encode_quality=quality, skip_reencode=True, resize_mode="no")
        assert Image.open(io.BytesIO(done.image)).format == kind
        assert (done.original_width, done.original_height) == (90, 70)


def test_a_pillow_without_avif_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: name != "avif")
    failed = process_image(encoded(COLOUR, "AVIF"), DownloadOptions())
    assert isinstance(failed, ImageFailure)
    assert failed.error_class is ErrorClass.NOT_AN_IMAGE and "installed Pillow" in failed.message
    assert processed(encoded(COLOUR, "WEBP"))


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(["RGB", "RGBA", "L"]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_pixels_that_are_coded_are_counted(width: int, height: int, mode: str, is_moving: bool) -> None:
    image = Image.fromarray(picture(width, height, 4)).convert(mode)
    more = {"save_all": True, "append_images": [Image.new(mode, image.size)]} if is_moving else {}
    body = encoded(image, "AVIF", speed=10, **more)
    assert coded_pixels(tamed(body)) == width * height * (2 if mode == "RGBA" else 1)


def test_a_small_size_does_not_hide_a_large_picture() -> None:
    """libavif decodes the picture as it is coded, and scales it to the size that its box says."""
    body = with_size("AVIF", encoded(picture(640, 500), "AVIF", speed=10), 32, 25)
    assert processed(body, max_pixels=640 * 500)
    assert failure(body, max_pixels=640 * 500 // 4 - 1) is ErrorClass.TOO_MANY_PIXELS
    moving = encoded(picture(640, 500), "AVIF", speed=10, save_all=True, append_images=[Image.new("RGB", (640, 500))])
    assert failure(with_size("AVIF", moving, 32, 25), max_pixels=79_999) is ErrorClass.TOO_MANY_PIXELS


def test_frames_that_are_not_shown_count() -> None:
    """A sequence header of 65,536 x 65,536 pixels, and frames that follow it."""
    header = bytes([0x0A, 7, 0b0001_1000, 0b0011_1111, 0b1111_1111, 0b1111_1111, 0b1111_1111, 0b1111_1111, 0b1100_0000])
    assert decoded_pixels(header) == 0
    assert decoded_pixels(header + b"\x12\0" + b"\x32\1\0" * 3) == 3 * 65_536**2
    assert decoded_pixels(header + b"\x1a\0" + b"\x30\0\0\0") == 2 * 65_536**2
    for damaged in (header[:5], header[:2], b"\x0a", b"\x0a" + b"\xff" * 9, header + b"\x32" + b"\x80" * 8):
        with pytest.raises(ValueError, match="AV1"):
            decoded_pixels(damaged)
    with pytest.raises(ValueError, match="AV1"):
        decoded_pixels(header + b"\x12\0" * 20_000)


def test_exif_is_not_parsed_whatever_it_claims() -> None:
    """2000 tags that each hold the whole block of 200,000 bytes would take 400 MB."""
    place = bytes(range(1, 251)) * 800
    body = encoded(COLOUR, "AVIF", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + place)
    tags = b"".join(struct.pack("<HHII", number, 7, 190_000, 8) for number in range(1, 2001))
    at = body.index(place)
    block = (b"II*\0\x08\0\0\0" + struct.pack("<H", 2000) + tags).ljust(14 + len(place), b"\0")
    hostile = body[: at - 14] + block + body[at + len(place) :]
    assert len(hostile) == len(body)
    assert processed(hostile).exif == "{}"
    assert peak_of(hostile) < 100_000_000


def test_damaged_boxes_are_damage() -> None:
    body = encoded(COLOUR, "AVIF")
    for name in (b"meta", b"iloc", b"iinf", b"pitm", b"ispe", b"av1C"):
        assert failure(body.replace(name, b"free")) is ErrorClass.DECODE_ERROR
    for length in range(12, len(body), 97):
        assert failure(body[:length]) is ErrorClass.DECODE_ERROR
