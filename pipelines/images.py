"""A stranger's bytes made into a small clean JPEG, as img2dataset's resizer does it (keep_ratio, if bigger).

Beyond img2dataset: the format is told by its first bytes, the size is judged before anything is decoded, a
truncated JPEG is an error, EXIF orientation is applied, and 16-bit, CMYK and palette images are converted.
"""

from __future__ import annotations

import io
import json
import logging
import re
from dataclasses import dataclass

import cv2
import exifread
import numpy as np
from PIL import Image

from pipelines.phash import perceptual_hash
from schemas.outcomes import ErrorClass
from schemas.recipe import DownloadOptions

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""Pillow's names of the formats that are read; of a GIF, the first frame."""

_MAX_SIDE = 65_500  # of a JPEG, by libjpeg
_END_OF_JPEG = b"\xff\xd9"
_ORIENTATION = 0x0112
_PLAIN_JPEG_MODES = ("L", "RGB")
_BLENDED_ROWS = 256
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

logging.getLogger("exifread").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class ProcessedImage:
    """An image as it is stored, and what is known of it."""

    jpeg: bytes
    width: int
    height: int
    original_width: int
    """As the downloaded file's header says it, before any turning by EXIF orientation."""
    original_height: int
    exif: str
    """EXIF tags as JSON, ``{}`` where there are none."""
    phash: str
    """Of the stored JPEG, so that anyone can compute it from the shard."""


@dataclass(frozen=True)
class ImageFailure:
    """Why bytes did not become an image."""

    error_class: ErrorClass
    message: str


def process_image(body: bytes, options: DownloadOptions) -> ProcessedImage | ImageFailure:
    """Decode, orient, flatten, shrink and encode a downloaded image.

    The shorter side becomes ``options.image_size`` where it was longer (cv2.INTER_AREA); transparency is laid
    on white; grey stays grey. Bytes that are no sound image within the caps are an ImageFailure, never an
    exception.
    """
    if image_format(body) is None:
        return ImageFailure(ErrorClass.NOT_AN_IMAGE, f"not one of {', '.join(FORMATS)}")
    try:
        return _process(body, options)
    except Image.DecompressionBombError:
        return ImageFailure(ErrorClass.TOO_MANY_PIXELS, f"over Pillow's limit or {options.max_pixels} pixels")
    except Exception as error:
        # Pillow and OpenCV raise whatever their parsers trip over in hostile bytes; the row says what it was.
        return ImageFailure(ErrorClass.DECODE_ERROR, _reason(error))


def image_format(body: bytes) -> str | None:
    """The allowed format that the first bytes are of; None for any other content."""
    if body.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "WEBP"
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "BMP" if body.startswith(b"BM") else None


def _process(body: bytes, options: DownloadOptions) -> ProcessedImage | ImageFailure:
    stream = io.BytesIO(body)
    image = Image.open(stream, formats=FORMATS)
    scan_start = stream.tell()
    width, height = image.size
    if width * height > options.max_pixels:
        return ImageFailure(ErrorClass.TOO_MANY_PIXELS, f"{width} x {height} pixels, over {options.max_pixels}")
    if image_format(body) == "JPEG" and body.find(_END_OF_JPEG, scan_start) < 0:
        raise ValueError("truncated JPEG: no end marker")
    pixels = _orient(_decode(image, body), image.getexif().get(_ORIENTATION, 1))
    return _encode(_shrink(pixels, options.image_size), options.encode_quality, image)


def _decode(image: Image.Image, body: bytes) -> np.ndarray:
    """uint8[H, W] or BGR uint8[H, W, 3]."""
    if image_format(body) == "JPEG" and image.mode in _PLAIN_JPEG_MODES:
        # OpenCV's decoder is img2dataset's, and the faster; other formats it reads differently by version.
        return _imdecode(body, cv2.IMREAD_UNCHANGED)
    if image.mode.startswith("I;16"):
        return (np.asarray(image) >> 8).astype(np.uint8)
    if image.has_transparency_data:
        return _on_white(np.asarray(image.convert("RGBA")))
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    return cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)


def _imdecode(jpeg: bytes, flags: int) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), flags)
    if pixels is None:
        raise ValueError("damaged JPEG")
    return pixels


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """RGBA uint8[H, W, 4] -> BGR uint8[H, W, 3], rounded as img2dataset does."""
    flat = np.empty_like(rgba[..., :3])
    for start in range(0, len(rgba), _BLENDED_ROWS):  # in parts: floats take eight times the room
        part = rgba[start : start + _BLENDED_ROWS]
        alpha = part[..., 3:]
        blended = alpha / 255 * part[..., 2::-1] + 255 - alpha
        flat[start : start + _BLENDED_ROWS] = np.rint(blended.clip(0, 255))
    return flat


def _orient(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror by the EXIF orientation (1 to 8; others mean 1)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    if min(height, width) <= side:
        return pixels
    scale = side / min(height, width)
    return cv2.resize(pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)


def _encode(pixels: np.ndarray, quality: int, image: Image.Image) -> ProcessedImage | ImageFailure:
    height, width = pixels.shape[:2]
    if max(height, width) > _MAX_SIDE:
        return ImageFailure(ErrorClass.TOO_MANY_PIXELS, f"{width} x {height}: a side over {_MAX_SIDE}")
    jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    phash = perceptual_hash(cv2.cvtColor(_imdecode(jpeg, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))
    return ProcessedImage(jpeg, width, height, *image.size, _exif_json(image), phash)


def _exif_json(image: Image.Image) -> str:
    """EXIF tags by exifread's names, as img2dataset keeps them."""
    block = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
    if not block:
        return "{}"
    # Tags are decoration: a block that cannot be read has none.
    try:
        tags = exifread.process_file(io.BytesIO(block), details=False)
    except Exception:
        return "{}"
    return json.dumps({name: str(value).strip() for name, value in tags.items() if value is not None})


def _reason(error: Exception) -> str:
    """An exception's text on one line, without the memory addresses in which two runs differ."""
    return _ADDRESS.sub("", " ".join(str(error).split()))[:200] or type(error).__name__
