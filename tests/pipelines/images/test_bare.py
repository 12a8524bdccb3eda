from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.pipelines.images.pictures import chunk, encoded, photograph, picture, processed

KINDS = {"jpg": ("JPEG", 95), "png": ("PNG", 9), "webp": ("WEBP", 95)}


def kept(body, encode_format, **options):
    """Whether the stored bytes are those that came; if not, they are what is stored without skip_reencode."""
    settings = {"encode_format": encode_format, "encode_quality": KINDS[encode_format][1], **options}
    done = processed(body, skip_reencode=True, **settings)
    anew = processed(body, **settings)
    assert done.image in (body, anew.image)
    assert (done.width, done.height, done.phash) == (anew.width, anew.height, anew.phash)
    return done.image == body


@pytest.mark.parametrize("encode_format", KINDS)
def test_a_bare_file_is_kept_and_nothing_else(encode_format):
    kind = KINDS[encode_format][0]
    exif = Image.Exif()
    exif[0x0112] = 1
    bare = encoded(picture(50, 40), kind)
    assert kept(bare, encode_format)
    for other in KINDS.keys() - {encode_format}:
        assert not kept(bare, other)
    for touched in (
        bare + b"after the end",
        encoded(picture(50, 40), kind, exif=exif),
        encoded(picture(50, 40), kind, icc_profile=bytes(200)),
        encoded(picture(70, 80), kind),
    ):
        assert not kept(touched, encode_format)
    assert not kept(bare, encode_format, resize_only_if_bigger=False)


def test_a_jpeg_with_any_other_part_is_written_anew():
    colour = Image.fromarray(photograph(60, 50))
    for image, options in ((colour, {"progressive": True}), (colour.convert("L"), {}), (colour, {"quality": 20})):
        assert kept(encoded(image, "JPEG", **options), "jpg")
    assert kept(encoded(colour, "JPEG", restart_marker_blocks=1), "jpg")
    plain = encoded(colour, "JPEG")
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\1"
    assert kept(plain[:20] + adobe + plain[20:], "jpg")  # it says that the colours are YCbCr
    assert not kept(plain[:20] + adobe[:3] + b"\x12" + adobe[4:] + b"text" + plain[20:], "jpg")
    jfif_with_thumbnail = b"\xff\xe0\0\x13JFIF\0\1\1\0\0\1\0\1\1\1" + b"rgb"
    assert not kept(plain[:2] + jfif_with_thumbnail + plain[20:], "jpg")
    bare = encoded(colour, "JPEG", progressive=True)
    last_scan = bare.rindex(b"\xff\xda")
    for touched in (
        encoded(colour, "JPEG", comment=b"who made it"),
        encoded(colour, "JPEG", dpi=(72, 72), xmp=b"<x:xmpmeta/>"),
        bare[:20] + b"junk" + bare[20:],  # after JFIF's header
        bare[:2] + b"\xff" + bare[2:],
        bare[:last_scan] + b"\xff\xfe\0\6text" + bare[last_scan:],
        bare + bare,
        bare + b"secret GPS" + b"\xff\xd9",  # after the picture's own end mark
    ):
        assert not kept(touched, "jpg")


def test_a_png_is_kept_if_opaque_and_of_eight_bits():
    image = Image.fromarray(picture(50, 40))
    for plain in (image, image.convert("L"), image.convert("1"), image.quantize(16)):
        assert kept(encoded(plain, "PNG", dpi=(72, 72)), "png")
    text = PngInfo()
    text.add_text("Author", "somebody")
    sixteen = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256)
    for touched, options in (
        (image, {"pnginfo": text}),
        (sixteen, {}),
        (image.convert("RGBA"), {}),
        (image.quantize(16), {"transparency": 2}),
        (image, {"save_all": True, "append_images": [image.rotate(90)]}),
    ):
        assert not kept(encoded(touched, "PNG", **options), "png")
    bare = encoded(image, "PNG")
    for name, size in ((b"gAMA", 4), (b"cHRM", 32), (b"sRGB", 1), (b"sBIT", 3), (b"bKGD", 6), (b"hIST", 2)):
        part = chunk(name, b"\1" * size)
        assert kept(bare[:33] + part + bare[33:], "png") and not kept(bare + part, "png")
    assert not kept(bare[:33] + chunk(b"tIME", bytes(7)) + bare[33:], "png")
    assert not kept(bare[:-12] + chunk(b"IEND", b"secret GPS"), "png")


def test_a_webp_is_kept_if_opaque_and_still():
    image = Image.fromarray(picture(50, 40))
    sizes = set()
    for quality in (10, 30, 50, 70, 90):
        for is_lossless in (True, False):
            still = encoded(image, "WEBP", lossless=is_lossless, quality=quality)
            assert kept(still, "webp") and not kept(still + b"\0", "webp")
            sizes.add(int.from_bytes(still[16:20], "little") % 2)
    assert sizes == {0, 1}  # with a byte of padding and without
    for options in ({"save_all": True, "append_images": [image.rotate(90)]}, {"xmp": b"<x:xmpmeta/>"}):
        assert not kept(encoded(image, "WEBP", **options), "webp")
    for is_lossless in (True, False):
        assert not kept(encoded(picture(50, 40, 4), "WEBP", lossless=is_lossless), "webp")


def test_a_turned_or_blurred_picture_is_written_anew():
    exif = Image.Exif()
    exif[0x0112] = 6
    body = encoded(picture(50, 40), "JPEG", exif=exif)
    stored = processed(body, skip_reencode=True)
    assert stored.image != body
    assert (stored.width, stored.height) == (40, 50)
    assert not Image.open(io.BytesIO(stored.image)).getexif()
    bare = encoded(picture(50, 40), "JPEG")
    assert processed(bare, [[0.1, 0.1, 0.9, 0.9]], skip_reencode=True).image != bare
