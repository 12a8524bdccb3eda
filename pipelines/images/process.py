"""One image from the bytes that a server sent to the bytes that are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from clipsieve.pipelines.images.bare import is_bare
from clipsieve.pipelines.images.blur import Box, blur, read_boxes, turn_box
from clipsieve.pipelines.images.decode import SCALES, decode, turn
from clipsieve.pipelines.images.errors import ImageError
from clipsieve.pipelines.images.exif import read_exif
from clipsieve.pipelines.images.header import read_header
from clipsieve.pipelines.images.icc import to_srgb
from clipsieve.pipelines.images.phash import perceptual_hash
from clipsieve.pipelines.images.resize import ResizePlan, crop_or_pad, plan_resize, resize
from clipsieve.schemas.errors import one_line
from clipsieve.schemas.options import ImageOptions
from clipsieve.schemas.outcomes import ErrorClass

_QUALITY = {"jpg": cv2.IMWRITE_JPEG_QUALITY, "png": cv2.IMWRITE_PNG_COMPRESSION, "webp": cv2.IMWRITE_WEBP_QUALITY}
_HASHED_SIDE = 160


@dataclass(frozen=True)
class ProcessedImage:
    """An image as it is stored, and what is known of it."""

    image: bytes
    """In the recipe's encode_format."""
    width: int
    height: int
    original_width: int
    """As the downloaded file's header says it, before any turning by EXIF orientation."""
    original_height: int
    exif: str | None
    """EXIF tags as JSON: ``{}`` where there are none, None where they cannot be read."""
    phash: str
    """Of the stored pixels before they are encoded."""


@dataclass(frozen=True)
class ImageFailure:
    """Why bytes did not become an image."""

    error_class: ErrorClass
    message: str


def process_image(
    body: bytes, options: ImageOptions, boxes: Sequence[Sequence[float]] | None = None
) -> ProcessedImage | ImageFailure:
    """Decode, turn, flatten, resize, blur and encode a downloaded image, under the recipe's options.

    Transparency is laid on white, grey stays grey, metadata is left behind. The pixels are img2dataset's, and with
    its encoder the bytes too; of its resize modes see `plan_resize`. With ``decode="fast"`` a JPEG that shrinks is
    decoded at the least of 1/8, 1/4, 1/2 and 1 that is no smaller than its new size, and the rest is bilinear.

    ``boxes`` are blurred in the resized image, before a crop or border, as img2dataset does. Where EXIF turns the
    picture nobody knows whether the boxes' detector turned it too: both readings are blurred.

    The exact path takes as long as OpenCV's decoding, resizing and encoding alone at 500 x 375 pixels, and 0.9 of it
    at 1000 x 750 (see `shrink`). The fast one takes 0.7, 0.55 and, at 4000 x 3000 pixels, 0.25 of the exact one's time
    (to 256), and differs from it by 36 to 49 dB (PSNR) on photographs.

    An ICC profile's colours are brought to sRGB unless ``color="keep"``: after the resize, where there are fewer of
    them, and before a border or a blur.

    Memory is at most 16 bytes a pixel of the file for WebP and AVIF, 7 and 12 MiB in all for the others, but for
    blurring in mode ``no``.

    Bytes that are no sound image within the caps, and boxes that cannot be read, are an ImageFailure, never an
    exception. Safe to call from many threads; OpenCV and Pillow let go of the GIL while they work.
    """
    try:
        return _process(body, options, read_boxes(boxes))
    except ImageError as error:
        return ImageFailure(error.error_class, str(error))
    except Exception as error:
        # Pillow and OpenCV raise whatever their parsers trip over in hostile bytes; the row says what it was.
        return ImageFailure(ErrorClass.DECODE_ERROR, one_line(error))


def _process(body: bytes, options: ImageOptions, boxes: list[Box]) -> ProcessedImage:
    header = read_header(body, options)
    exif = read_exif(header)
    turned = exif.orientation
    width, height = (header.width, header.height) if turned < 5 else (header.height, header.width)
    plan = plan_resize(width, height, options)
    is_fast = options.decode == "fast" and header.format == "JPEG"
    pixels = turn(decode(header, body, _scale(width, height, plan) if is_fast else 1), turned)
    pixels = resize(pixels, plan, is_fast)
    if options.color == "srgb":
        pixels = to_srgb(pixels, header.profile, header.model)
    pixels = blur(pixels, boxes if turned == 1 else [*boxes, *(turn_box(box, turned) for box in boxes)])
    pixels = crop_or_pad(pixels, plan)
    is_kept = options.skip_reencode and turned == 1 and not boxes and not plan.is_applied
    is_kept = is_kept and is_bare(header, body, options.encode_format)
    stored = body if is_kept else _encode(pixels, options)
    stored_size, original_size = (plan.final_width, plan.final_height), (header.width, header.height)
    return ProcessedImage(stored, *stored_size, *original_size, exif.tags, _hash(pixels))


def _scale(width: int, height: int, plan: ResizePlan) -> int:
    """The greatest reduction that leaves both sides no smaller than the plan's."""
    fitting = (s for s in SCALES if width >= s * plan.width and height >= s * plan.height)
    return next(fitting, 1)


def _encode(pixels: np.ndarray, options: ImageOptions) -> bytes:
    quality = [_QUALITY[options.encode_format], options.encode_quality]
    return cv2.imencode(f".{options.encode_format}", pixels, quality)[1].tobytes()


def _hash(pixels: np.ndarray) -> str:
    """The perceptual hash of grey or BGR pixels, first brought to 160 x 160: as steady, and half the time."""
    if max(pixels.shape) > _HASHED_SIDE:
        pixels = cv2.resize(pixels, (_HASHED_SIDE, _HASHED_SIDE), interpolation=cv2.INTER_LINEAR)
    return perceptual_hash(pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))
