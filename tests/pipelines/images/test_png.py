"""A PNG's pixels are those of its critical chunks, whatever lies between them."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipsieve.pipelines.images.png import chunks, read_png
from clipsieve.schemas.outcomes import ErrorClass
from tests.pipelines.images.pictures import chunk, encoded, failure, picture, processed, stored
from tests.pipelines.images.test_header import peak_of

PLAIN = encoded(picture(24, 16), "PNG")
HEAD, TAIL = 33, 12  # the bytes up to the end of IHDR, those of IEND


def damaged(name: bytes, content: bytes) -> bytes:
    """A chunk with a wrong CRC."""
    return chunk(name, content)[:-4] + b"\0\1\2\3"


def bare_png(depth: int, colour: int, rows: bytes, *parts: bytes, width: int = 4) -> bytes:
    """One row of ``width`` pixels; ``parts`` come before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0))
    return PLAIN[:8] + header + b"".join(parts) + chunk(b"IDAT", zlib.compress(b"\0" + rows)) + PLAIN[-TAIL:]


BOMB = zlib.compress(bytes(40_000_000))
ANCILLARY = {
    "CRC of tEXt": damaged(b"tEXt", b"a\0b"),
    "CRC of pHYs": damaged(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    "CRC of iCCP": damaged(b"iCCP", b"icc\0\0" + zlib.compress(b"x" * 200)),
    "CRC of gAMA": damaged(b"gAMA", struct.pack(">I", 45455)),
    "CRC of eXIf": damaged(b"eXIf", b"MM\0*"),
    "CRC of tRNS": damaged(b"tRNS", bytes(6)),
    "short pHYs": chunk(b"pHYs", b"\0"),
    "short sRGB": chunk(b"sRGB", b""),
    "long cHRM": chunk(b"cHRM", bytes(37)),
    "short gAMA": chunk(b"gAMA", b"\0\1"),
    "short tRNS": chunk(b"tRNS", b"\0"),
    "empty iCCP": chunk(b"iCCP", b""),
    "iCCP of another compression": chunk(b"iCCP", b"icc\0\7" + zlib.compress(b"x")),
    "iCCP that is no zlib": chunk(b"iCCP", b"icc\0\0" + bytes(50)),
    "zTXt without end": chunk(b"zTXt", b"key"),
    "zTXt of another compression": chunk(b"zTXt", b"key\0\7"),
    "tEXt without a key": chunk(b"tEXt", b"\0"),
    "iTXt that is no UTF-8": chunk(b"iTXt", b"k\0\0\0\xff\0\xfe\0\xfd"),
    "unknown": chunk(b"abCd", bytes(9)),
    "unknown, CRC": damaged(b"zzZz", bytes(9)),
    "acTL without frames": chunk(b"acTL", bytes(3)),
    "fcTL out of order": chunk(b"fcTL", struct.pack(">IIIIIHHBB", 7, 24, 16, 0, 0, 1, 1, 0, 0)),
    "zTXt bomb": chunk(b"zTXt", b"k\0\0" + BOMB),
    "iTXt bomb": chunk(b"iTXt", b"k\0\1\0\0\0" + BOMB),
    "iCCP bomb": chunk(b"iCCP", b"k\0\0" + BOMB),
    "3 MB of text": chunk(b"tEXt", b"k\0" + bytes(3 << 20)),
}


@pytest.mark.parametrize("kind", ANCILLARY)
def test_no_ancillary_chunk_loses_a_picture(kind: str) -> None:
    part = ANCILLARY[kind]
    expected = cv2.imdecode(np.frombuffer(PLAIN, np.uint8), cv2.IMREAD_COLOR_RGB)
    for body in (PLAIN[:HEAD] + part + PLAIN[HEAD:], PLAIN[:-TAIL] + part + PLAIN[-TAIL:], PLAIN[:-TAIL] + part[:-5]):
        assert (stored(body, resize_mode="no") == expected).all()
        done = processed(body, resize_mode="no", skip_reencode=True, encode_format="png", encode_quality=1)
        assert done.image == processed(PLAIN, resize_mode="no", encode_format="png", encode_quality=1).image


@given(st.lists(st.tuples(st.from_regex(rb"[a-z][A-Za-z]{3}", fullmatch=True), st.binary(max_size=40), st.booleans())))
@settings(max_examples=60, deadline=None)
def test_the_pixels_outlive_any_ancillary_chunks(parts: list[tuple[bytes, bytes, bool]]) -> None:
    parts = [(name, content, is_sound) for name, content, is_sound in parts if name not in (b"tRNS", b"eXIf")]
    made = b"".join((chunk if is_sound else damaged)(name, content) for name, content, is_sound in parts)
    assert read_png(PLAIN[:HEAD] + made + PLAIN[HEAD:]).body == PLAIN


def test_critical_chunks_stay_strict() -> None:
    header, pixels = PLAIN[8:HEAD], PLAIN[HEAD:-TAIL]
    for body in (
        PLAIN[:8] + header[:-4] + bytes(4) + pixels + PLAIN[-TAIL:],
        PLAIN[:HEAD] + chunk(b"ABcd", b"")[:-4] + bytes(4) + pixels + PLAIN[-TAIL:],
        PLAIN[:HEAD] + b"\0\0\0\1\0\0\0\0" + bytes(5) + pixels + PLAIN[-TAIL:],
        PLAIN[:HEAD] + pixels[: len(pixels) // 2],
        PLAIN[:HEAD] + PLAIN[-TAIL:],
        PLAIN[:HEAD] + b"\x7f\xff\xff\xfftEXt" + pixels + PLAIN[-TAIL:],  # the pixels are its content
    ):
        assert failure(body) is ErrorClass.DECODE_ERROR


def test_what_is_whole_is_not_copied_and_nothing_is_inflated() -> None:
    clear = encoded(Image.fromarray(picture(24, 16)).quantize(8), "PNG", transparency=3)
    assert read_png(PLAIN).body is PLAIN
    assert stored(clear).shape == (16, 24, 3)
    body = PLAIN[:HEAD] + ANCILLARY["zTXt bomb"] + ANCILLARY["iCCP bomb"] + ANCILLARY["iTXt bomb"] + PLAIN[HEAD:]
    assert peak_of(body) - peak_of(PLAIN) < 20_000_000


def test_parts_of_the_file_are_found_as_they_lie() -> None:
    names = [each.name for each in chunks(PLAIN)]
    assert names[0] == b"IHDR" and names[-1] == b"IEND" and set(names) == {b"IHDR", b"IDAT", b"IEND"}
    assert [each.name for each in chunks(PLAIN[: HEAD + 7])] == [b"IHDR"]


WHITE = [255, 255, 255]


@pytest.mark.parametrize(
    ("depth", "levels", "clear", "shown"),
    [
        (1, [0, 1, 0, 1], 1, [0, None, 0, None]),
        (2, [0, 1, 2, 3], 1, [0, None, 170, 255]),
        (4, [0, 1, 2, 15], 2, [0, 17, None, 255]),
        (8, [0, 1, 2, 200], 2, [0, 1, None, 200]),
        (8, [0, 1, 2, 200], 0x0502, [0, 1, None, 200]),  # bits beyond the depth are masked
        (16, [0, 258, 513, 60_000], 513, [0, 1, None, 234]),
        (16, [512, 513, 514, 767], 513, [2, None, 2, 2]),
        (16, [0, 1, 65_535, 255], 0, [None, 0, 255, 0]),
        (16, [0, 256, 65_535, 65_535], 65_535, [0, 1, None, None]),
        (16, [7, 7, 7, 7], 7, [None] * 4),
    ],
)
def test_the_transparent_level_of_greys_is_white(depth, levels, clear, shown) -> None:
    bits = "".join(f"{level:0{depth}b}" for level in levels)
    rows = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    body = bare_png(depth, 0, rows, chunk(b"tRNS", struct.pack(">H", clear)))
    expected = [WHITE if level is None else [level] * 3 for level in shown]
    assert stored(body, resize_mode="no")[0].tolist() == expected


def test_the_transparent_colour_of_sixteen_bits_is_white() -> None:
    rows = struct.pack(">12H", 0, 258, 513, 60_000, 1800, 7, 8, 9, 10, 11, 12, 13)
    body = bare_png(16, 2, rows, chunk(b"tRNS", struct.pack(">3H", 60_000, 1800, 7)))
    seen = np.asarray(cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED), np.uint16)
    expected = np.where(seen[..., 3:] == 0, 255, seen[..., 2::-1] >> 8)
    assert (stored(body, resize_mode="no") == expected).all()


def test_transparency_that_is_not_of_its_image_counts_for_nothing() -> None:
    palette = chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60]))
    opaque = stored(bare_png(8, 3, bytes([0, 1, 0, 1]), palette), resize_mode="no")
    for parts in (
        (palette, chunk(b"tRNS", b"\0\0\0")),
        (palette, chunk(b"tRNS", b"")),
        (chunk(b"tRNS", b"\0"), palette),
        (palette, damaged(b"tRNS", b"\0\0")),
    ):
        assert (stored(bare_png(8, 3, bytes([0, 1, 0, 1]), *parts), resize_mode="no") == opaque).all()
    clear = bare_png(8, 3, bytes([0, 1, 0, 1]), palette, chunk(b"tRNS", b"\0"), chunk(b"tRNS", b"\xff\0"))
    assert stored(clear, resize_mode="no")[0].tolist() == [WHITE, [40, 50, 60]] * 2  # the first one counts
