"""Image files that mean harm, or are only unusual, in every format that is read."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
BOMB_SIDE = 40_000


def picture(seed: int = 0, mode: str = "RGB", size: tuple[int, int] = (96, 72)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(kind: str = "JPEG", image: Image.Image | None = None, **options: object) -> bytes:
    stream = io.BytesIO()
    (image or picture()).save(stream, kind, **options)
    return stream.getvalue()


def animated(kind: str, frames: int = 20) -> bytes:
    first, *others = [picture(seed) for seed in range(frames)]
    return encoded(kind, first, save_all=True, append_images=others)


def truncated(kind: str) -> bytes:
    whole = encoded(kind)
    return whole[: len(whole) * 2 // 3]


def fuzzed(kind: str, seed: int) -> bytes:
    """One byte in fifty changed, the first twelve (the format's mark) left alone."""
    data = np.frombuffer(encoded(kind), np.uint8).copy()
    rng = np.random.default_rng(seed)
    places = rng.integers(12, len(data), max(3, len(data) // 50))
    data[places] ^= rng.integers(1, 256, len(places), np.uint8)
    return data.tobytes()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(chunk: bytes) -> bytes:
    """A sound PNG with one more chunk after its header."""
    whole = encoded("PNG")
    return whole[:33] + chunk + whole[33:]


def text_bomb() -> bytes:
    """A compressed text of 64 MiB in 64 KB."""
    return png_with(png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 26), 9)))


def profile_bomb() -> bytes:
    return png_with(png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(1 << 26), 9)))


def jpeg_bomb() -> bytes:
    """A sound JPEG whose header says that it is larger by far."""
    data = bytearray(encoded("JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, BOMB_SIDE, BOMB_SIDE)
    return bytes(data)


def png_bomb() -> bytes:
    """A true one: every pixel that the header announces is there, black, in 200 KB."""
    header = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(1)
    row = bytes(1 + BOMB_SIDE // 8)
    pixels = b"".join(packer.compress(row * 100) for _ in range(BOMB_SIDE // 100)) + packer.flush()
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, content) for kind, content in chunks)


def webp_bomb() -> bytes:
    """As large as a simple WebP can say to be: 16,383 pixels a side."""
    data = bytearray(encoded("WEBP"))
    struct.pack_into("<HH", data, data.index(b"\x9d\x01\x2a") + 3, 16_383, 16_383)
    return bytes(data)


def lossless_webp_bomb() -> bytes:
    data = bytearray(encoded("WEBP", lossless=True))
    struct.pack_into("<I", data, data.index(b"VP8L") + 9, 16_382 | 16_382 << 14)
    return bytes(data)


def webp_canvas_bomb() -> bytes:
    """An animation whose canvas is larger by far than its frames."""
    data = bytearray(animated("WEBP", 3))
    side = (BOMB_SIDE - 1).to_bytes(3, "little")
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = side + side
    return bytes(data)


def gif_bomb() -> bytes:
    """Screen and frame both say so."""
    data = bytearray(encoded("GIF"))
    struct.pack_into("<HH", data, 6, BOMB_SIDE, BOMB_SIDE)
    struct.pack_into("<HH", data, data.index(b",\0\0\0\0") + 5, BOMB_SIDE, BOMB_SIDE)
    return bytes(data)


def gif_frame_bomb() -> bytes:
    """A frame that is larger by far than the screen that it is shown on."""
    data = bytearray(encoded("GIF"))
    struct.pack_into("<HH", data, data.index(b",\0\0\0\0") + 5, BOMB_SIDE, BOMB_SIDE)
    return bytes(data)


def bmp_bomb() -> bytes:
    data = bytearray(encoded("BMP"))
    struct.pack_into("<ii", data, 18, BOMB_SIDE, BOMB_SIDE)
    return bytes(data)


def run_length_bmp_bomb() -> bytes:
    """Run-length coded, so that a few bytes may stand for any number of pixels."""
    data = bytearray(encoded("BMP", picture(mode="L")))
    struct.pack_into("<ii", data, 18, BOMB_SIDE, BOMB_SIDE)
    struct.pack_into("<I", data, 30, 1)
    return bytes(data)


BOMBS = {
    "jpeg": jpeg_bomb,
    "png": png_bomb,
    "webp": webp_bomb,
    "lossless_webp": lossless_webp_bomb,
    "webp_canvas": webp_canvas_bomb,
    "gif": gif_bomb,
    "gif_frame": gif_frame_bomb,
    "bmp": bmp_bomb,
    "run_length_bmp": run_length_bmp_bomb,
}


def many_scans() -> bytes:
    """A progressive JPEG whose last scan stands there 5,000 times: few bytes."""
    data = encoded("JPEG", picture(size=(1024, 1024)).convert("L").point(lambda _: 128), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 5_000 + b"\xff\xd9"


def exif_loop() -> bytes:
    """An IFD that names itself as its Exif IFD and as the next one."""
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8)
    return encoded(exif=b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 8))


def exif_of_many_values() -> bytes:
    """A tag of two thousand million values."""
    entry = struct.pack("<HHII", 0x010E, 4, 0x7FFFFFFF, 26)
    return encoded(exif=b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0))


def turned() -> bytes:
    """A JPEG that is to be shown turned by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(exif=exif)


def see_through_palette() -> bytes:
    return encoded("PNG", picture().quantize(16), transparency=3)


def sixteen_bit() -> bytes:
    grey = np.asarray(picture(mode="L")).astype(np.uint16) * 257
    return encoded("PNG", Image.fromarray(grey))
