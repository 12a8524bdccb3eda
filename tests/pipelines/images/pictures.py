"""Pictures as a photograph has them, in any format, and what `process_image` makes of them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from clipsieve.pipelines.images.process import ImageFailure, ProcessedImage, process_image
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import ErrorClass

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")


def picture(width: int, height: int, channels: int = 3) -> np.ndarray:
    """Smooth colours with edges: uint8[height, width, channels], or uint8[height, width] for one channel."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (3 + c)) * 90 + np.cos(columns / (5 + c)) * 30 + 128 for c in range(channels)]
    pixels = np.stack(waves, axis=2).clip(0, 255).astype(np.uint8)
    pixels[height // 3 :, width // 2 :] = 255 - pixels[height // 3 :, width // 2 :]
    return pixels if channels > 1 else pixels[..., 0]


def photograph(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Noise of every scale, fainter where it is finer, as in nature: uint8[height, width, 3]."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 128.0)
    for cells in (3, 6, 12, 24, 48, 96, 192):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        layer = np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), np.float64) - 128
        pixels += layer / np.sqrt(cells)
    return pixels.clip(0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def processed(body: bytes, boxes: Any = None, **options: Any) -> ProcessedImage:
    done = process_image(body, DownloadOptions(**{"image_size": 64, **options}), boxes)
    assert isinstance(done, ProcessedImage), done
    return done


def stored(body: bytes, boxes: Any = None, **options: Any) -> np.ndarray:
    """The stored image's RGB pixels: uint8[H, W, 3]; without loss unless asked otherwise."""
    done = processed(body, boxes, **{"encode_format": "png", "encode_quality": 1, **options})
    image = Image.open(io.BytesIO(done.image))
    assert image.size == (done.width, done.height)
    assert not image.getexif()
    return np.asarray(image.convert("RGB"))


def failure(body: bytes, boxes: Any = None, **options: Any) -> ErrorClass:
    failed = process_image(body, DownloadOptions(**options), boxes)
    assert isinstance(failed, ImageFailure), failed
    assert failed.message
    assert "\n" not in failed.message
    return failed.error_class
