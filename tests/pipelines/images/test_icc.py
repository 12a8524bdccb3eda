"""Colours of an ICC profile become sRGB's, by the formulas of the profile's primaries and curve."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from clipsieve.pipelines.images.icc import MAX_PROFILE, to_srgb
from clipsieve.schemas.outcomes import ErrorClass
from tests.pipelines.images.pictures import chunk, encoded, failure, photograph, processed, stored
from tests.pipelines.images.profiles import (
    ADOBE,
    DISPLAY_P3,
    PROPHOTO,
    SRGB,
    cmyk_in_srgb,
    cmyk_profile,
    grey_in_srgb,
    grey_profile,
    in_srgb,
    rgb_profile,
)

DISPLAYS = {
    "Adobe RGB": (ADOBE, 563 / 256),
    "Display P3": (DISPLAY_P3, None),
    "ProPhoto": (PROPHOTO, 1.8),
    "sRGB's primaries, gamma 2.2": (SRGB, 2.2),
    "P3's primaries, gamma 2.6": (DISPLAY_P3, 2.6),
}
PICTURE = photograph(96, 72)
LITTLECMS_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("display", DISPLAYS)
@pytest.mark.parametrize("kind", ["JPEG", *LOSSLESS])
def test_colours_are_those_that_the_profile_means(kind: str, display: str) -> None:
    columns, gamma = DISPLAYS[display]
    options: dict[str, Any] = LOSSLESS.get(kind, {"quality": 100, "subsampling": 0})
    body = encoded(PICTURE, kind, icc_profile=rgb_profile(columns, gamma), **options)
    kept = stored(body, resize_mode="no", color="keep")
    assert (kept == stored(encoded(PICTURE, kind, **options), resize_mode="no")).all()
    expected = in_srgb(kept, columns, gamma)
    assert np.abs(stored(body, resize_mode="no") - expected).max() < 2
    assert np.abs(kept - expected).max() > 8


@pytest.mark.parametrize("gamma", [1.8, 2.0, 2.2, 2.4, 2.6])
def test_grey_stays_grey_and_is_of_the_profiles_curve(gamma: float) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    body = encoded(levels, "PNG", icc_profile=grey_profile(gamma))
    done = processed(body, resize_mode="no", encode_format="png", encode_quality=1)
    assert Image.open(io.BytesIO(done.image)).mode == "L"
    expected = grey_in_srgb(levels, gamma)
    assert np.abs(stored(body, resize_mode="no")[..., 0] - expected).max() < 2
    jpeg = encoded(levels, "JPEG", quality=100, icc_profile=grey_profile(gamma))
    kept = stored(jpeg, resize_mode="no", color="keep")
    assert np.abs(stored(jpeg, resize_mode="no") - grey_in_srgb(kept, gamma)).max() < 2
    clear = encoded(Image.fromarray(np.dstack([levels, levels]), "LA"), "PNG", icc_profile=grey_profile(gamma))
    kept = stored(clear, resize_mode="no", color="keep")
    assert np.abs(stored(clear, resize_mode="no") - grey_in_srgb(kept, gamma)).max() < 2


SRGBS = {
    "LittleCMS": LITTLECMS_SRGB,
    "a table": rgb_profile(SRGB, None),
    "rounded otherwise": rgb_profile(SRGB.round(4), None),
    "grey": grey_profile(None),
    "none": b"",
}


@pytest.mark.parametrize("maker", SRGBS)
@pytest.mark.parametrize("kind", ["JPEG", *LOSSLESS])
def test_an_srgb_profile_changes_no_byte(kind: str, maker: str) -> None:
    picture = PICTURE[..., 0] if maker == "grey" else PICTURE
    plain = processed(encoded(picture, kind))
    assert processed(encoded(picture, kind, icc_profile=SRGBS[maker])) == plain
    assert processed(encoded(picture, kind), color="keep") == plain


HUGE = rgb_profile(ADOBE, 2.2).ljust(MAX_PROFILE + 1, b"\0")
BROKEN = {
    "noise": np.random.default_rng(0).bytes(3000),
    "zeros": bytes(500),
    "cut off": rgb_profile(ADOBE, 2.2)[:200],
    "cut in its header": rgb_profile(ADOBE, 2.2)[:60],
    "without tags": rgb_profile(ADOBE, 2.2)[:128] + bytes(4),
    "a million tags": rgb_profile(ADOBE, 2.2)[:128] + struct.pack(">I", 10**6) + bytes(1000),
    "too large": HUGE,
    "of CMYK": rgb_profile(ADOBE, 2.2).replace(b"RGB ", b"CMYK"),
    "of grey": grey_profile(2.2),
    "tags past its end": rgb_profile(ADOBE, 2.2).replace(struct.pack(">I", 20), struct.pack(">I", 2**31)),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_profile_of_no_use_loses_no_picture(fault: str) -> None:
    plain = stored(encoded(PICTURE, "PNG"))
    assert (stored(encoded(PICTURE, "PNG", icc_profile=BROKEN[fault])) == plain).all()
    for kind in ("JPEG", "WEBP", "AVIF"):
        assert (stored(encoded(PICTURE, kind, icc_profile=BROKEN[fault])) == stored(encoded(PICTURE, kind))).all()


def test_a_colours_profile_on_grey_counts_for_nothing() -> None:
    grey = PICTURE[..., 0]
    for kind in ("PNG", "JPEG"):
        assert processed(encoded(grey, kind, icc_profile=rgb_profile(ADOBE, 1.0))) == processed(encoded(grey, kind))


def segment(number: int, count: int, part: bytes) -> bytes:
    content = b"ICC_PROFILE\0" + bytes([number, count]) + part
    return b"\xff\xe2" + struct.pack(">H", len(content) + 2) + content


def test_the_parts_of_a_jpegs_profile_are_joined_by_their_numbers() -> None:
    profile, plain = rgb_profile(ADOBE, 2.2), encoded(PICTURE, "JPEG")
    whole = processed(encoded(PICTURE, "JPEG", icc_profile=profile)).image
    thirds = [profile[:100], profile[100:250], profile[250:]]
    for order in ((1, 2, 3), (3, 1, 2), (2, 3, 1)):
        parts = b"".join(segment(number, 3, thirds[number - 1]) for number in order)
        assert processed(plain[:20] + parts + plain[20:]).image == whole
    for parts in (
        segment(1, 3, thirds[0]) + segment(3, 3, thirds[2]),
        segment(1, 2, thirds[0]) + segment(2, 2, thirds[1]) + segment(3, 2, thirds[2]),
        segment(0, 1, profile),
        segment(1, 1, profile) * 2,
        segment(1, 1, profile) * 300,
        segment(1, 1, b""),
        b"\xff\xe2\0\x0eICC_PROFILE\0",
    ):
        assert processed(plain[:20] + parts + plain[20:]) == processed(plain)


def test_the_fast_path_has_the_same_colours() -> None:
    columns, gamma = DISPLAYS["Adobe RGB"]
    body = encoded(photograph(600, 450), "JPEG", quality=92, icc_profile=rgb_profile(columns, gamma))
    exact, fast = (stored(body, decode=decode) for decode in ("exact", "fast"))
    assert cv2.PSNR(exact, fast) >= 35
    assert np.abs(fast - in_srgb(stored(body, decode="fast", color="keep"), columns, gamma)).max() < 2


def test_a_border_is_white_and_a_foreign_profile_is_never_stored() -> None:
    profile = rgb_profile(PROPHOTO, 1.8)
    dark = np.full((40, 80, 3), 30, np.uint8)
    for kind, name in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")):
        body = encoded(dark, kind, icc_profile=profile)
        assert (stored(body, resize_mode="border")[0] == 255).all()
        done = processed(body, skip_reencode=True, encode_format=name, encode_quality=9, resize_mode="no")
        assert profile not in done.image and zlib.compress(profile) not in done.image
        assert done.image == processed(body, encode_format=name, encode_quality=9, resize_mode="no").image


def test_a_png_with_both_a_profile_and_gamma_is_of_its_profile() -> None:
    columns, gamma = DISPLAYS["Adobe RGB"]
    body = encoded(PICTURE, "PNG", icc_profile=rgb_profile(columns, gamma))
    both = body[:33] + chunk(b"gAMA", struct.pack(">I", 100_000)) + body[33:]
    assert (stored(both) == stored(body)).all()
    alone = encoded(PICTURE, "PNG")
    assert (stored(alone[:33] + chunk(b"gAMA", struct.pack(">I", 100_000)) + alone[33:]) == stored(alone)).all()


def test_large_pictures_are_converted_in_bands() -> None:
    columns, gamma = DISPLAYS["Display P3"]
    pixels = np.tile(photograph(500, 300), (2, 2, 1))
    made = to_srgb(pixels[..., ::-1].copy(), rgb_profile(columns, gamma), "RGB")[..., ::-1]
    assert np.abs(made - in_srgb(pixels, columns, gamma)).max() < 2
    assert (made[:300, :500] == made[300:, 500:]).all()


INKS = Image.fromarray(PICTURE // 2).convert("CMYK")


@pytest.mark.parametrize("decode", ["exact", "fast"])
@pytest.mark.parametrize("is_progressive", [False, True])
def test_inks_are_those_that_their_profile_means(decode: str, is_progressive: bool) -> None:
    options = {"quality": 100, "subsampling": 0, "progressive": is_progressive}
    body = encoded(INKS, "JPEG", icc_profile=cmyk_profile(), **options)
    inks = np.asarray(Image.open(io.BytesIO(body)))
    made = stored(body, resize_mode="no", decode=decode)
    difference = np.abs(made - cmyk_in_srgb(inks))  # LittleCMS joins four inks' table and sRGB in a coarser one
    assert difference.mean() < 2 and difference.max() < 6
    kept = stored(body, resize_mode="no", color="keep", decode=decode)
    assert (kept == stored(encoded(INKS, "JPEG", **options), resize_mode="no")).all()
    assert np.abs(made.astype(int) - kept).max() > 20


def test_inks_are_turned_and_shrunk_as_other_colours() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a caption"
    large = INKS.resize((960, 720))
    body = encoded(large, "JPEG", icc_profile=cmyk_profile(), exif=exif, quality=95)
    exact, fast = (stored(body, decode=decode) for decode in ("exact", "fast"))
    assert exact.shape == (85, 64, 3) and cv2.PSNR(exact, fast) >= 33
    done = processed(body)
    assert (done.original_width, done.original_height) == (960, 720)
    assert "a caption" in str(done.exif)
    assert failure(body[: len(body) // 2]) is ErrorClass.DECODE_ERROR


@pytest.mark.parametrize("fault", ["noise", "zeros", "without tags", "of CMYK", "of grey", "too large"])
def test_inks_with_a_profile_of_no_use_are_as_without(fault: str) -> None:
    plain = processed(encoded(INKS, "JPEG"))
    assert processed(encoded(INKS, "JPEG", icc_profile=BROKEN[fault])) == plain
    assert processed(encoded(INKS, "JPEG", icc_profile=rgb_profile(ADOBE, 2.2))) == plain
