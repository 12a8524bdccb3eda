"""A JPEG decoded at a share of its size is the whole one, averaged: in the colours, and of the sides, that it has."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from clipsieve.pipelines.images.decode import SCALES, decode
from clipsieve.pipelines.images.header import read_header
from clipsieve.schemas.options import DownloadOptions

WIDTH, HEIGHT = 203, 101
"""Neither divides by a scale."""


def jpeg(mode: str) -> tuple[bytes, np.ndarray]:
    """A smooth picture whose channels differ, as a file, and as RGB or grey pixels."""
    across, down = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    channels = [250 * across, 250 * down, 250 * (1 - across)]
    pixels = (channels[0] if mode == "L" else np.stack(channels, axis=2)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue(), pixels


@pytest.mark.parametrize("scale", [1, *SCALES])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_scaled_decode_is_the_average_of_the_whole(mode: str, scale: int) -> None:
    body, pixels = jpeg(mode)
    found = decode(read_header(body, DownloadOptions()), body, scale)
    assert found.shape[:2] == (-(-HEIGHT // scale), -(-WIDTH // scale))
    whole = (HEIGHT // scale, WIDTH // scale)  # cells of scale x scale pixels, less those that the border cuts
    cells = pixels[: whole[0] * scale, : whole[1] * scale].reshape(whole[0], scale, whole[1], scale, -1)
    seen = found if mode == "L" else cv2.cvtColor(found, cv2.COLOR_BGR2RGB)
    expected = cells.mean(axis=(1, 3)).reshape(*whole, *pixels.shape[2:])
    assert np.abs(seen[: whole[0], : whole[1]] - expected).max() <= 4
