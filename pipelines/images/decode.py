"""Pixels of a file: eight bits a channel, BGR or grey, no transparency, turned as EXIF says.

JPEG is read by OpenCV, as img2dataset reads it; the rest by Pillow, which is strict about damage and knows every
colour model, a band of rows at a time: besides Pillow's own copy of the image there is only the result.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from clipsieve.pipelines.images.header import Header
from clipsieve.pipelines.images.icc import transform_of

SCALES = (8, 4, 2)
"""Reductions that a JPEG's decoder makes for less than its whole work (libjpeg's scaled inverse DCT)."""

_BAND_PIXELS = 1 << 18
_COLOUR = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_GREY = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}

# Images are decoded side by side, each on one thread.
cv2.setNumThreads(1)
# A damaged file is a row's failure, not a line in the log.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(header: Header, body: bytes, scale: int = 1) -> np.ndarray:
    """uint8[H, W], or BGR uint8[H, W, 3], of the file ``body``; not yet turned.

    A JPEG comes with both sides divided by ``scale`` (1 or one of `SCALES`), rounded up.
    """
    if isinstance(header.source, Image.Image):
        header.source.draft(None, (header.width // scale, header.height // scale))
        return _decode_bands(header.source, header.profile)
    flag = (_GREY if header.source.channels == 1 else _COLOUR)[scale] | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(body, np.uint8), flag)
    if pixels is None or pixels.shape[:2] != (-(-header.height // scale), -(-header.width // scale)):
        raise ValueError("damaged JPEG")
    return pixels


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror by the EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = cv2.transpose(pixels)
    flips = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
    return cv2.flip(pixels, flips[orientation]) if orientation in flips else pixels


def _decode_bands(image: Image.Image, profile: bytes) -> np.ndarray:
    """The pixels of any format; of a CMYK image as ``profile`` means them."""
    width, height = image.size
    image.load()
    is_grey = image.mode.startswith("I;16") or (image.mode in ("L", "1") and not image.has_transparency_data)
    pixels = np.empty((height, width) if is_grey else (height, width, 3), np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = _to_grey(band) if is_grey else _to_bgr(band, profile)
    return pixels


def _to_grey(band: Image.Image) -> np.ndarray:
    """L, 1 or I;16 -> uint8[H, W]; of sixteen bits the upper eight, and the level that is transparent as white."""
    if band.mode.startswith("I;16"):
        levels = np.asarray(band)
        upper = (levels >> 8).astype(np.uint8)
        upper[levels == band.info.get("transparency", -1)] = 255
        return upper
    return np.asarray(band.convert("L"))


def _to_bgr(band: Image.Image, profile: bytes) -> np.ndarray:
    """Any mode -> BGR uint8[H, W, 3], transparency laid on white."""
    if band.mode == "CMYK" and (transform := transform_of(profile, "CMYK")):
        return cv2.cvtColor(np.asarray(transform.apply(band)), cv2.COLOR_RGB2BGR)
    if not band.has_transparency_data:
        return cv2.cvtColor(np.asarray(band.convert("RGB")), cv2.COLOR_RGB2BGR)
    rgba = np.asarray(band.convert("RGBA"))
    alpha = cv2.cvtColor(rgba[..., 3], cv2.COLOR_GRAY2BGR)
    # round(colour * alpha / 255) + 255 - alpha: what img2dataset computes in floats, and no product is halfway.
    on_black = cv2.multiply(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR), alpha, scale=1 / 255)
    return cv2.add(on_black, cv2.bitwise_not(alpha))
