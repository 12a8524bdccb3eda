"""How different two pictures are, measured in another way than dedup does: by the edges that only one of them has.

Both are seen in grey at 160 x 160, one laid over the other by template matching at whole pixels, over crops of 94 to
100%. Of each of 25 overlapping tiles the share of edge pixels (Canny) is taken that have no edge of the other within
`REACH` pixels, of a tile with few edges as of `FEWEST`; the worst tile of either picture is `unmatched`. `recoloured`
is the largest difference of the median colours of two tiles. What is alike by these is not told by SSIM, ECC, hashes or
thumbnails, and what is alike by those is not told by these.
"""

from __future__ import annotations

import cv2
import numpy as np

from clipsieve.schemas.images import decode_image

SIDE = 160
REACH = 3.0
FEWEST = 40
MOST_UNMATCHED = 0.5
MOST_RECOLOURED = 0.2
"""A pair is false where it differs by more than either; of planted copies `dedup_recall` prints how many do."""
_TILE = SIDE // 3
_MARGIN = 0.07


def picture(image: bytes) -> np.ndarray:
    """An image's bytes -> uint8[160, 160, 3]."""
    rgb = np.asarray(decode_image(image, "a judged picture").convert("RGB"))
    return cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def differences(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Two pictures -> (unmatched, recoloured), each 0 to 1."""
    pair = _laid_over(one, other)
    edges = [cv2.Canny(cv2.GaussianBlur(each, (0, 0), 1.5), 30, 70) > 0 for each in pair]
    far = [cv2.distanceTransform(1 - each.astype(np.uint8), cv2.DIST_L2, 3) > REACH for each in edges]
    unmatched = recoloured = 0.0
    for tile in _tiles(pair[0].shape):
        for own, is_far in ((edges[0], far[1]), (edges[1], far[0])):
            count = int(own[tile].sum())
            unmatched = max(unmatched, (own & is_far)[tile].sum() / max(count, FEWEST))
        medians = [np.median(each[tile].reshape(-1, 3), axis=0) for each in pair]
        recoloured = max(recoloured, float(np.abs(medians[0] - medians[1]).max()) / 255)
    return unmatched, recoloured


def _tiles(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    starts = [np.linspace(0, side - _TILE, 5).astype(int) for side in shape[:2]]
    return [(slice(y, y + _TILE), slice(x, x + _TILE)) for y in starts[0] for x in starts[1]]


def _laid_over(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of the one and of the other that show the same, of one size."""
    best, found = -np.inf, (one, other)
    for side in range(round(0.94 * SIDE), SIDE + 1, 2):
        for whole, inner in ((one, other), (other, one)) if side < SIDE else ((one, other),):
            small = cv2.resize(inner, (side, side), interpolation=cv2.INTER_AREA)
            margin = round(_MARGIN * SIDE)
            template = small[margin:-margin, margin:-margin]
            matched = cv2.matchTemplate(whole, template, cv2.TM_CCORR_NORMED)
            _, value, _, (x, y) = cv2.minMaxLoc(matched)
            if value > best:
                seen = whole[y : y + template.shape[0], x : x + template.shape[1]]
                best, found = value, (seen, template) if whole is one else (template, seen)
    return found
