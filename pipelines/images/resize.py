"""img2dataset's resize modes: which size an image gets (`plan_resize`, numbers alone), and giving it that size.

The scale and its rounding are those of albumentations' SmallestMaxSize and LongestMaxSize, which img2dataset uses.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from clipsieve.pipelines.images.errors import ImageError
from clipsieve.schemas.options import ImageOptions
from clipsieve.schemas.outcomes import ErrorClass

_MAX_SIDES = {"jpg": 65_500, "png": 1_000_000, "webp": 16_383}
"""Longest side that a format's library writes."""
_WIDENED_PIXELS = 1 << 20
"""Of the largest image that is widened on its way down, for 8 MiB; of larger ones memory, not sums, takes the time."""


@dataclass(frozen=True)
class ResizePlan:
    """What happens to an image's size, in pixels."""

    width: int
    """After resizing, before any crop or border."""
    height: int
    is_applied: bool
    """False: the image stays as it is, without a crop or border either."""
    shrinks: bool
    final_width: int
    final_height: int


def plan_resize(width: int, height: int, options: ImageOptions) -> ResizePlan:
    """The sizes of an image of ``width`` x ``height`` under the recipe.

    keep_ratio and center_crop set the shorter side to image_size, keep_ratio_largest and border the longer one;
    center_crop and border then make it square. Raises ImageError where a size on the way is over max_pixels or
    over what the format to write can hold.
    """
    mode, side = options.resize_mode, options.image_size
    fitted = min(width, height) if mode in ("keep_ratio", "center_crop") else max(width, height)
    shrinks = fitted > side
    if mode == "no" or (options.resize_only_if_bigger and not shrinks):
        plan = ResizePlan(width, height, False, False, width, height)
    else:
        scale = side / fitted
        new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
        is_square = mode in ("center_crop", "border")
        final = (side, side) if is_square else (new_width, new_height)
        plan = ResizePlan(new_width, new_height, True, shrinks, *final)
    too_many = plan.width * plan.height > max(options.max_pixels, options.image_size**2)
    if too_many or max(plan.final_width, plan.final_height) > _MAX_SIDES[options.encode_format]:
        message = f"{width} x {height} becomes {plan.width} x {plan.height}, more than can be stored"
        raise ImageError(ErrorClass.TOO_MANY_PIXELS, message)
    return plan


def resize(pixels: np.ndarray, plan: ResizePlan, is_fast: bool) -> np.ndarray:
    """Scale uint8[H, W] or uint8[H, W, 3] to the plan's width and height.

    Down by INTER_AREA and up by INTER_LANCZOS4, as img2dataset's defaults; if ``is_fast``, bilinearly where less
    than a halving is left to do.
    """
    height, width = pixels.shape[:2]
    if (width, height) == (plan.width, plan.height):
        return pixels
    size = plan.width, plan.height
    if not plan.shrinks:
        return cv2.resize(pixels, size, interpolation=cv2.INTER_LANCZOS4)
    if is_fast and max(width / plan.width, height / plan.height) < 2:
        return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    return shrink(pixels, *size)


def shrink(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """OpenCV's INTER_AREA of uint8[H, W] or uint8[H, W, 3] to a size no larger on either side, bit for bit.

    Of three channels OpenCV adds up one value at a time, of four with 16 bits four at a time, in the same order and
    floats: that takes 0.6 of the time. By whole factors it has a faster way, which rounds by the number of channels.
    """
    is_whole = pixels.shape[0] % height == 0 and pixels.shape[1] % width == 0
    if pixels.ndim == 2 or is_whole or pixels.shape[0] * pixels.shape[1] > _WIDENED_PIXELS:
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    widened = cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA).astype(np.uint16)
    shrunk = cv2.resize(widened, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(shrunk, cv2.COLOR_BGRA2BGR).astype(np.uint8)


def crop_or_pad(pixels: np.ndarray, plan: ResizePlan) -> np.ndarray:
    """Cut the middle out of what is larger than the plan's final size, and lay what is smaller on white."""
    height, width = pixels.shape[:2]
    left, top = max(0, width - plan.final_width) // 2, max(0, height - plan.final_height) // 2
    pixels = pixels[top : top + plan.final_height, left : left + plan.final_width]
    missing_rows, missing_columns = plan.final_height - pixels.shape[0], plan.final_width - pixels.shape[1]
    if not missing_rows and not missing_columns:
        return pixels
    above, before = missing_rows // 2, missing_columns // 2
    sides = (above, missing_rows - above, before, missing_columns - before)
    return cv2.copyMakeBorder(pixels, *sides, cv2.BORDER_CONSTANT, value=(255, 255, 255))
