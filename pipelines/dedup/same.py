"""Whether two pictures are one, seen closely: laid over each other, then compared part by part.

Candidates come from hashes and thumbnails, at 32 x 32 and below. Here both are seen at up to 128 x 128, or as many
pixels as the coarser one has. One is moved and scaled onto the other, by up to 7% of its sides, first by correlation,
then by ECC (Evangelidis and Psarakis, PAMI 2008), which ends well below a pixel: thin lines lie upon each other or do
not. Then the worst place decides, not the mean: the structure and contrast term of SSIM (Wang et al., 2004) under a
window of a ninth of the side, and the local mean of each colour. So one more point of a star, another number on a
card or a wheel in another colour makes two pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SIDE = 128
MIN_CONTRAST = 2.0
"""Standard deviation, in grey levels of 255, below which a picture is blank: all such pictures look alike."""
MIN_STRUCTURE = 0.86
MAX_COLOUR = 0.13
"""Largest difference, of 1, of the local means of a colour."""

_SCALES = (1.0, 0.98, 0.965, 0.95, 0.935)
_MARGIN = 4
_COARSE = 64
_WINDOW, _LEAST_WINDOW = 5.0, 1.5
"""Standard deviation of the local windows, in pixels of 128, and at least in pixels of what is to be seen."""
_BLUR, _LEAST_BLUR = 1.4, 0.7
_NOISE = 0.15
"""SSIM's constant C2, as a share of the pictures' own variance: fainter patterns are what a compression changes."""
_REFINED_BY = 8.0
"""Pixels of 128 by which the fine place may differ from the rough one, at any corner."""
_CORNERS = np.array([(x, y, 1) for x in (0, SIDE) for y in (0, SIDE)], np.float32)
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-5)


@dataclass(frozen=True)
class Picture:
    """A picture as it is compared."""

    pixels: np.ndarray
    """uint8[128, 128, 3]"""
    detail: int
    """Pixels of its shorter side, 8 to 128."""


def picture_of(pixels: np.ndarray) -> Picture:
    """uint8[H, W, 3] -> the picture, stretched to a square."""
    height, width = pixels.shape[:2]
    shrinks = min(height, width) >= SIDE
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return Picture(cv2.resize(pixels, (SIDE, SIDE), interpolation=method), max(8, min(height, width, SIDE)))


def likeness(one: Picture, other: Picture) -> tuple[float, float]:
    """The least structure, at most 1, and the largest difference of colour, at least 0, of any place in both."""
    detail = min(one.detail, other.detail)
    blur = max(_BLUR, _LEAST_BLUR * SIDE / detail)
    first, second = (_blurred(each.pixels, detail, blur) for each in (one, other))
    if min(first.std(), second.std()) < MIN_CONTRAST:
        return 0.0, 1.0
    placed = _laid_over(first, second, round(2 * blur))
    if placed is None:
        return 0.0, 1.0
    return _compared(first, *placed, window=max(_WINDOW, _LEAST_WINDOW * SIDE / detail))


def are_same(one: Picture, other: Picture) -> bool:
    structure, colour = likeness(one, other)
    return structure >= MIN_STRUCTURE and colour <= MAX_COLOUR


def _blurred(pixels: np.ndarray, detail: int, blur: float) -> np.ndarray:
    """uint8[128, 128, 3] -> float32[128, 128, 3] with no more to be seen than at ``detail`` pixels a side."""
    if detail < SIDE:
        small = cv2.resize(pixels, (detail, detail), interpolation=cv2.INTER_AREA)
        pixels = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), blur)


def _laid_over(one: np.ndarray, other: np.ndarray, border: int) -> tuple[np.ndarray, np.ndarray] | None:
    """``other`` moved and scaled onto ``one``, and bool[128, 128] where both are seen; None where it will not.

    The outermost ``border`` pixels of each, blurred with what is not there, are left out.
    """
    grey, onto = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (other, one))
    start, everywhere = _rough_place(onto, grey), np.ones((SIDE, SIDE), np.uint8)
    try:
        _, warp = cv2.findTransformECC(onto, grey, start.copy(), cv2.MOTION_AFFINE, _STEPS, everywhere, 1)
    except cv2.error:  # it does not converge: they are not alike
        return None
    if np.abs(_CORNERS @ (warp - start).T).max() > _REFINED_BY:
        warp = start
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(other, warp, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    whole = np.zeros((SIDE, SIDE), np.uint8)
    whole[border:-border, border:-border] = 1
    other_whole = cv2.warpAffine(whole, warp, (SIDE, SIDE), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return np.asarray(moved), (whole > 0) & (other_whole > 0)


def _rough_place(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float32[2, 3]: the affine map, from pixels of ``one`` to those of ``other``, that correlates best."""
    best, found = -np.inf, np.eye(2, 3)
    for scale in _SCALES:
        for is_crop in (False, True) if scale < 1 else (False,):
            inner, whole = (one, other) if is_crop else (other, one)
            size = round(_COARSE * scale)
            template = cv2.resize(inner, (size, size), interpolation=cv2.INTER_AREA)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
            seen = cv2.resize(whole, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
            matched = cv2.matchTemplate(seen, template, cv2.TM_CCOEFF_NORMED)
            _, value, _, (x, y) = cv2.minMaxLoc(matched)
            if value > best:
                # pixel p of inner lies at p * scale + shift of whole
                shift = (np.array([x, y]) - _MARGIN) * SIDE / _COARSE
                to_whole = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)
                best, found = value, np.asarray(to_whole if is_crop else cv2.invertAffineTransform(to_whole))
    return found.astype(np.float32)


def _compared(one: np.ndarray, other: np.ndarray, is_inside: np.ndarray, window: float) -> tuple[float, float]:
    """`likeness` of two float32[128, 128, 3] within bool[128, 128]."""

    def local(values: np.ndarray) -> np.ndarray:
        """float32[128, 128, C] -> the mean under a Gaussian window around each pixel, over the pixels inside."""
        total = cv2.GaussianBlur(np.where(is_inside[..., None], values, 0), (0, 0), window)
        return total / np.maximum(weight, 1e-6)[..., None]

    weight = cv2.GaussianBlur(is_inside.astype(np.float32), (0, 0), window)
    means = local(one), local(other)
    spread = (local(one * one + other * other) - means[0] ** 2 - means[1] ** 2).sum(axis=2)
    together = (local(one * other) - means[0] * means[1]).sum(axis=2)
    noise = _NOISE * (one.var(axis=(0, 1)).sum() + other.var(axis=(0, 1)).sum()) / 2
    structure = (2 * together + noise) / (spread + noise)
    colour = np.abs(means[0] - means[1]).max(axis=2) / 255
    return float(structure[is_inside].min()), float(colour[is_inside].max())
