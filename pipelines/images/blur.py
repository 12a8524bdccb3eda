"""Boxes of an image, such as faces, made unrecognisable by img2dataset's blurrer."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from clipsieve.pipelines.images.errors import ImageError
from clipsieve.schemas.outcomes import ErrorClass

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as shares of the width and height, from the upper left corner."""


def read_boxes(boxes: Sequence[Sequence[float]] | None) -> list[Box]:
    """A row's boxes; none for null. What is no list of boxes is an ImageError: no face may slip through unread."""
    if boxes is None:
        return []
    try:
        read = [tuple(float(value) for value in box) for box in boxes]
    except (TypeError, ValueError):
        raise ImageError(ErrorClass.DECODE_ERROR, "boxes to blur: not a list of lists of numbers") from None
    return [_checked(number, box) for number, box in enumerate(read)]


def turn_box(box: Box, orientation: int) -> Box:
    """The box after the picture has been turned by its EXIF orientation, 1 to 8."""
    x0, y0, x1, y1 = box
    if orientation in (5, 6, 7, 8):
        x0, y0, x1, y1 = y0, x0, y1, x1
    if orientation in (2, 3, 6, 7):
        x0, x1 = 1 - x1, 1 - x0
    if orientation in (3, 4, 7, 8):
        y0, y1 = 1 - y1, 1 - y0
    return x0, y0, x1, y1


def blur(pixels: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Blur the boxes of uint8[H, W] or uint8[H, W, 3]; the same pixels and boxes give the same result."""
    return _blurrer()(pixels, boxes) if boxes else pixels


def _checked(number: int, box: tuple[float, ...]) -> Box:
    if len(box) != 4 or not all(map(math.isfinite, box)) or box[0] > box[2] or box[1] > box[3]:
        raise ImageError(ErrorClass.DECODE_ERROR, f"box {number} to blur: not x0 <= x1 and y0 <= y1 in 0 to 1")
    # A detector's box may stand out over the edge.
    x0, y0, x1, y1 = (min(max(value, 0.0), 1.0) for value in box)
    return x0, y0, x1, y1


@cache
def _blurrer() -> Callable[[np.ndarray, Sequence[Box]], np.ndarray]:
    # Its import brings albumentations, which takes seconds, and asks the network for news of itself unless told not to.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    from img2dataset.blurrer import BoundingBoxBlurrer

    return BoundingBoxBlurrer()
