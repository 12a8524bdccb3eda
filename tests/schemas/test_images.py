"""The one decoder of stored images: what it takes, its pixels, and what it refuses before it decodes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from clipsieve.schemas import images
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.images import MAX_PIXELS, SHARD_FORMATS, TASK_FORMATS, decode_image, decode_sample
from clipsieve.schemas.samples import Sample

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"
PPM = b"P6 2 2 255\n" + bytes(12)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 4), np.uint8))


def encoded(form: str, mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    NOISE.convert(mode).save(stream, form, **options)
    return stream.getvalue()


def sample_of(data: bytes) -> Sample:
    return Sample("0007", {"jpg": data}, 0, 0)


def refusal(data: bytes, formats: tuple[str, ...] = TASK_FORMATS) -> str:
    """What is said of an image that is refused: one line that says where it lies."""
    with pytest.raises(InputError) as caught:
        decode_image(data, "a.tar: sample 0007", formats)
    message = str(caught.value)
    assert message.startswith("a.tar: sample 0007: the image cannot be decoded (") and "\n" not in message
    return message


@pytest.mark.parametrize("form", TASK_FORMATS)
def test_a_format_is_read_where_it_is_named_and_nowhere_else(form: str) -> None:
    data = encoded(form)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data, "here", (form,)).convert("RGB"), expected)
    others = tuple(other for other in TASK_FORMATS if other != form)
    assert f"not a readable image of one of {', '.join(others)}" in refusal(data, others)


def test_a_shard_holds_fewer_formats_than_a_task() -> None:
    assert {*TASK_FORMATS} - {*SHARD_FORMATS} == {"BMP", "GIF", "TIFF"}
    for form in ("BMP", "GIF", "TIFF"):
        with pytest.raises(InputError, match=r"JPEG, PNG, WEBP\)"):
            decode_sample(sample_of(encoded(form)), "a.tar")


def test_what_is_no_format_of_either_is_refused() -> None:
    """Pillow opens all of these when it is not told what to try."""
    for data in (EPS, PPM, encoded("ICO"), encoded("TGA"), encoded("PCX"), encoded("PDF")):
        assert "not a readable image of one of JPEG, PNG, WEBP, BMP, GIF, TIFF" in refusal(data)
    assert "not a readable image" in refusal(b"") and "not a readable image" in refusal(b"<html>")


def test_a_samples_image_is_rgb_and_its_transparency_is_left_aside() -> None:
    image = decode_sample(sample_of(encoded("PNG", "RGBA")), "a.tar")
    assert image.mode == "RGB"
    np.testing.assert_array_equal(image, np.asarray(NOISE)[..., :3])
    cmyk = NOISE.convert("RGB").convert("CMYK")
    stream = io.BytesIO()
    cmyk.save(stream, "JPEG", quality=100, subsampling=0)
    made = np.asarray(decode_sample(sample_of(stream.getvalue()), "a.tar"), int)
    assert np.abs(made - np.asarray(cmyk.convert("RGB"), int)).mean() < 3
    grey = np.asarray(decode_sample(sample_of(encoded("PNG", "L")), "a.tar"))
    np.testing.assert_array_equal(grey, np.repeat(np.asarray(NOISE.convert("L"))[..., None], 3, axis=2))


def test_a_mode_is_kept_for_those_who_lay_transparency_on_a_colour() -> None:
    image = decode_image(encoded("PNG", "RGBA"), "here")
    assert image.mode == "RGBA" and image.has_transparency_data
    np.testing.assert_array_equal(image, NOISE)


def test_bytes_behind_a_jpeg_change_nothing() -> None:
    data = encoded("JPEG")
    plain = decode_image(data, "here")
    for behind in (b"\0" * 9, EPS, data, b"\xff\xd8\xff"):
        np.testing.assert_array_equal(decode_image(data + behind, "here"), plain)


@pytest.mark.parametrize("form", TASK_FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_image_is_refused(form: str, share: float) -> None:
    data = encoded(form)
    refusal(data[: int(share * len(data))])


def test_a_jpeg_that_lacks_its_last_rows_is_refused() -> None:
    """And one that lacks them after an end mark of its own, which libjpeg would fill with grey."""
    data = encoded("JPEG")
    assert "truncated" in refusal(data[:-40])
    assert "truncated" in refusal(encoded("JPEG", progressive=True)[:-40])


def test_a_damaged_png_is_refused() -> None:
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 0xFF
    refusal(bytes(data))


def too_large(form: str, side: int) -> bytes:
    """A file whose header says side x side, and which ends soon after it."""
    size = struct.pack(">HH", side, side)
    if form == "JPEG":
        data = bytearray(encoded(form))
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = size
        return bytes(data[: data.index(b"\xff\xda") + 100])
    if form == "PNG":
        header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
        return b"\x89PNG\r\n\x1a\n" + chunk + encoded(form)[33:200]
    if form == "GIF":
        data = bytearray(encoded(form))
        data[6:10] = struct.pack("<HH", side, side)
        return bytes(data[:900])
    if form == "WEBP":  # 14 bits of width - 1, 14 of height - 1 after VP8L's signature
        data = bytearray(encoded(form, lossless=True))
        data[21:25] = struct.pack("<I", (side - 1) | (side - 1) << 14)
        return bytes(data)
    if form == "BMP":
        data = bytearray(encoded(form))
        data[18:26] = struct.pack("<ii", side, side)
        return bytes(data[:500])
    tags = [(256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (279, 4, 4)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("limit", [None, Image.MAX_IMAGE_PIXELS])
@pytest.mark.parametrize("form", TASK_FORMATS)
def test_pixels_are_counted_before_they_are_decoded(
    form: str, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lifts Pillow's own limit. The same header of a side below the cap is found truncated instead."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    side = int(MAX_PIXELS**0.5)
    over = refusal(too_large(form, side + 1))
    assert "x 13378 pixels, more than 178,956,970" in over if limit is None else "exceeds limit of 178956970" in over
    if form in ("JPEG", "PNG", "WEBP"):
        assert "pixels" not in refusal(too_large(form, 300))


def test_as_many_pixels_as_the_cap_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encoded("PNG")
    width, height = decode_image(whole, "a.png").size
    monkeypatch.setattr(images, "MAX_PIXELS", width * height)
    assert decode_image(whole, "a.png").size == (width, height)
    monkeypatch.setattr(images, "MAX_PIXELS", width * height - 1)
    assert f"{width} x {height} pixels, more than" in refusal(whole)


def test_a_sample_without_an_image_is_named_with_its_tar() -> None:
    with pytest.raises(InputError, match=r"^a\.tar: sample 0007: no image member"):
        decode_sample(Sample("0007", {"txt": b"a cat"}, 0, 0), "a.tar")


@pytest.mark.filterwarnings("ignore")  # Pillow warns of much that it reads all the same
def test_whatever_pillow_trips_over_is_one_line() -> None:
    """Bytes changed at random in each format: pixels or a refusal, never another exception."""
    rng = np.random.default_rng(0)
    refused = 0
    for form in TASK_FORMATS:
        whole = encoded(form)
        for _ in range(150):
            data = bytearray(whole)
            for place in rng.integers(0, min(len(data), 1 << int(rng.integers(5, 13))), 4).tolist():
                data[place] = int(rng.integers(256))
            try:
                decode_image(bytes(data), "here", TASK_FORMATS)
            except InputError as error:
                refused += 1
                assert "\n" not in str(error)
    assert 100 < refused < 800
