"""Whether two pictures are one, seen closely: laid over each other, then compared part by part.

Candidates come from hashes and thumbnails, at 32 x 32 and below. Here both are seen at up to 128 x 128, or as many
pixels as the coarser one has. One is moved and scaled onto the other, by up to 7% of its sides, first by correlation,
then by ECC (Evangelidis and Psarakis, PAMI 2008), which ends well below a pixel: thin lines lie upon each other or do
not. Both are seen in the direction in which their colours differ most. Then the worst place decides, not the mean: the
structure and contrast term of SSIM (Wang et al., 2004) under a window of a ninth of the side, and the local mean of
each colour; and the contrast of the whole. So one more point of a star, another number on a card or a wheel in another
colour makes two pictures.

What is so far alike is looked at again in grey at 256 x 256, where both have the pixels, through a window half as wide:
a meme under another line of text, a chart of other numbers. There the term's constant is what a compression changes,
whatever the picture's own contrast.
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
MIN_CONTRAST_RATIO = 0.87
"""Least contrast of the fainter picture, as a share of the other's. Among drawings of thin lines it says how many."""
FINE_SIDE = 256
FINE_DETAIL = 200
"""Pixels of the shorter side from which on a picture is also seen at 256 x 256."""
MIN_FINE_STRUCTURE = 0.9

_SCALES = (1.0, 0.98, 0.965, 0.95, 0.935)
_MARGIN = 4
_COARSE = 64
_WINDOW, _LEAST_WINDOW = 5.0, 1.5
"""Standard deviation of the local windows, in pixels of 128, and at least in pixels of what is to be seen."""
_BLUR, _LEAST_BLUR = 1.4, 0.7
_NOISE = 0.15
"""SSIM's constant C2, as a share of the pictures' own variance: fainter patterns are what a compression changes."""
_FINE_WINDOW, _FINE_BLUR, _FINE_NOISE = 6.0, 1.0, 200.0
"""In pixels of 256, and squared grey levels: JPEG at quality 40 leaves so much."""
_REFINED_BY = 1 / 16
"""Share of the side by which the fine place may differ from the rough one, at any corner."""
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-5)


@dataclass(frozen=True)
class Picture:
    """A picture as it is compared."""

    pixels: np.ndarray
    """uint8[128, 128, 3]"""
    detail: int
    """Pixels of its shorter side, 8 to 128."""
    fine: np.ndarray | None
    """uint8[256, 256], in grey; None of a picture with fewer than `FINE_DETAIL` pixels."""


@dataclass(frozen=True)
class Likeness:
    """How alike two pictures are: where they are least, and as wholes."""

    structure: float
    """At most 1."""
    colour: float
    """The largest difference, of 1."""
    contrast: float
    """Of both as wholes: the lesser's share of the greater."""
    warp: np.ndarray | None
    """float32[2, 3]: from a pixel of the one, of 128, to that of the other; None where they cannot be laid over."""


_UNLIKE = Likeness(0.0, 1.0, 0.0, None)


def picture_of(pixels: np.ndarray) -> Picture:
    """uint8[H, W, 3] -> the picture, stretched to a square."""
    shorter = min(pixels.shape[:2])
    grey = cv2.cvtColor(_square(pixels, FINE_SIDE), cv2.COLOR_RGB2GRAY) if shorter >= FINE_DETAIL else None
    return Picture(_square(pixels, SIDE), max(8, min(shorter, SIDE)), grey)


def likeness(one: Picture, other: Picture) -> Likeness:
    """How alike they are at up to 128 x 128."""
    detail = min(one.detail, other.detail)
    blur = max(_BLUR, _LEAST_BLUR * SIDE / detail)
    first, second = (_blurred(each.pixels, detail, blur) for each in (one, other))
    if min(first.std(), second.std()) < MIN_CONTRAST:
        return _UNLIKE
    axis = _main_colour(first)
    onto, moving = (each @ axis for each in (first, second))
    place = _rough_place(onto, moving)
    # A whole is moved onto its crop, and the finer onto the coarser: the other way ECC goes astray now and then.
    is_turned = (place[0, 0], one.detail) > (1, other.detail)
    if is_turned:
        first, second, onto, moving, place = second, first, moving, onto, cv2.invertAffineTransform(place)
    warp = _refined(onto, moving, place)
    if warp is None:
        return _UNLIKE
    moved, is_inside = _moved(second, warp, round(2 * blur))
    noise = _NOISE * (first.var(axis=(0, 1)).sum() + moved.var(axis=(0, 1)).sum()) / 2
    window = max(_WINDOW, _LEAST_WINDOW * SIDE / detail)
    contrasts = [np.sqrt(each[is_inside].var(axis=0).sum()) for each in (first, moved)]
    contrast = min(contrasts) / max(*contrasts, MIN_CONTRAST)
    there = cv2.invertAffineTransform(warp) if is_turned else warp
    return Likeness(*_compared(first, moved, is_inside, window, noise), contrast, there)


def fine_structure(one: np.ndarray, other: np.ndarray, warp: np.ndarray) -> float:
    """The least structure of any place of two uint8[256, 256], of which ``warp`` says where they lie at 128."""
    first, second = (cv2.GaussianBlur(each.astype(np.float32), (0, 0), _FINE_BLUR) for each in (one, other))
    scale, linear = FINE_SIDE / SIDE, warp[:, :2]
    # A pixel's place is its middle: x of 128 is 2 x + 1/2 of 256.
    shift = scale * warp[:, 2] + (scale - 1) / 2 * (1 - linear.sum(axis=1))
    found = _refined(first, second, np.column_stack([linear, shift]).astype(np.float32))
    if found is None:
        return 0.0
    moved, is_inside = _moved(second, found, round(2 * _FINE_BLUR))
    return _compared(first[..., None], moved[..., None], is_inside, _FINE_WINDOW, _FINE_NOISE)[0]


def are_same(one: Picture, other: Picture) -> bool:
    seen = likeness(one, other)
    if seen.warp is None or seen.structure < MIN_STRUCTURE or seen.colour > MAX_COLOUR:
        return False
    if seen.contrast < MIN_CONTRAST_RATIO:
        return False
    if one.fine is None or other.fine is None:
        return True
    return fine_structure(one.fine, other.fine, seen.warp) >= MIN_FINE_STRUCTURE


def _square(pixels: np.ndarray, side: int) -> np.ndarray:
    method = cv2.INTER_AREA if min(pixels.shape[:2]) >= side else cv2.INTER_LINEAR
    return cv2.resize(pixels, (side, side), interpolation=method)


def _blurred(pixels: np.ndarray, detail: int, blur: float) -> np.ndarray:
    """uint8[128, 128, 3] -> float32[128, 128, 3] with no more to be seen than at ``detail`` pixels a side."""
    if detail < SIDE:
        small = cv2.resize(pixels, (detail, detail), interpolation=cv2.INTER_AREA)
        pixels = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), blur)


def _main_colour(pixels: np.ndarray) -> np.ndarray:
    """float32[3]: the direction in which the colours of float32[S, S, 3] differ most.

    Along it a picture is aligned: in grey there may be nothing to see of colours that are equally bright.
    """
    return np.asarray(np.linalg.eigh(np.cov(pixels.reshape(-1, 3), rowvar=False))[1][:, -1], np.float32)


def _refined(one: np.ndarray, other: np.ndarray, start: np.ndarray) -> np.ndarray | None:
    """float32[2, 3]: ``start``, a map from pixels of float32[S, S] ``one`` to those of ``other``, brought below a
    pixel; None where that does not succeed: they are not alike."""
    side = len(one)
    try:
        everywhere = np.ones((side, side), np.uint8)
        _, warp = cv2.findTransformECC(one, other, start.copy(), cv2.MOTION_AFFINE, _STEPS, everywhere, 1)
    except cv2.error:  # it does not converge
        return None
    # How far from each other the two maps put a corner says how far the refinement has gone.
    corners = np.array([(x, y, 1) for x in (0, side) for y in (0, side)], np.float32)
    return start if np.abs(corners @ (warp - start).T).max() > _REFINED_BY * side else warp


def _moved(pixels: np.ndarray, warp: np.ndarray, border: int) -> tuple[np.ndarray, np.ndarray]:
    """float32[S, S] or [S, S, 3] moved onto the picture that ``warp`` maps to it, and bool[S, S] where both are seen.

    The outermost ``border`` pixels of each, blurred with what is not there, are left out.
    """
    side = len(pixels)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(pixels, warp, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    whole = np.zeros((side, side), np.uint8)
    whole[border:-border, border:-border] = 1
    moved_whole = cv2.warpAffine(whole, warp, (side, side), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return np.asarray(moved), (whole > 0) & (moved_whole > 0)


def _rough_place(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float32[2, 3]: the affine map, from pixels of ``one`` to those of ``other``, that correlates best."""
    # The inner picture, shrunk by the scale and without its margin, slides over the whole one, 64 x 64:
    #     ┌───────────────┐
    #     │  ┌─────────┐  │     (x, y), where it correlates best, is the upper left corner of what slides;
    #     │  │  inner  │  │     the inner picture's own, with its margin, is at (x, y) - margin
    #     │  └─────────┘  │
    #     └───────────────┘
    # Which of the two is a crop of the other is not known: both are tried.
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


def _compared(
    one: np.ndarray, other: np.ndarray, is_inside: np.ndarray, window: float, noise: float
) -> tuple[float, float]:
    """The least structure and the largest difference of colour of two float32[S, S, C] within bool[S, S]."""

    def local(values: np.ndarray) -> np.ndarray:
        """float32[S, S, C] -> the mean under a Gaussian window around each pixel, over the pixels inside."""
        total = cv2.GaussianBlur(np.where(is_inside[..., None], values, 0), (0, 0), window).reshape(values.shape)
        return total / np.maximum(weight, 1e-6)[..., None]

    weight = cv2.GaussianBlur(is_inside.astype(np.float32), (0, 0), window)
    # SSIM's contrast and structure: (2 cov(a, b) + C) / (var(a) + var(b) + C), where under the window
    # cov(a, b) = mean(a b) - mean(a) mean(b), summed over the colours.
    means = local(one), local(other)
    spread = (local(one * one + other * other) - means[0] ** 2 - means[1] ** 2).sum(axis=2)
    together = (local(one * other) - means[0] * means[1]).sum(axis=2)
    structure = (2 * together + noise) / (spread + noise)
    colour = np.abs(means[0] - means[1]).max(axis=2) / 255
    return float(structure[is_inside].min()), float(colour[is_inside].max())
