from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.fft import dctn

from clipsieve.pipelines.images.phash import perceptual_hash
from tests.pipelines.images.pictures import encoded, photograph, processed


def distance(first, second):
    return bin(int(first, 16) ^ int(second, 16)).count("1")


def test_it_is_the_signs_of_the_lowest_frequencies_against_their_median():
    pixels = photograph(96, 64)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
    frequencies = dctn(small.astype(np.float64), norm="ortho")[:8, :8].ravel()
    bits = frequencies > np.median(frequencies[1:])
    assert int(perceptual_hash(pixels), 16) == int("".join("01"[int(bit)] for bit in bits), 2)
    assert perceptual_hash(grey) == perceptual_hash(pixels)


@pytest.mark.parametrize("seed", range(8))
def test_copies_are_near_and_other_pictures_far(seed):
    pixels = photograph(500, 375, seed)
    original = processed(encoded(pixels, "PNG"), image_size=256).phash
    half = cv2.resize(pixels, (250, 188), interpolation=cv2.INTER_AREA)
    copies = (encoded(pixels, "JPEG", quality=30), encoded(half, "PNG"), encoded(half, "WEBP", quality=50))
    for copy in copies:
        assert distance(original, processed(copy, image_size=256).phash) <= 4
    assert distance(original, processed(encoded(pixels[9:366, 12:488], "PNG"), image_size=256).phash) <= 10
    other = processed(encoded(photograph(500, 375, seed + 100), "PNG"), image_size=256).phash
    assert distance(original, other) > 10
