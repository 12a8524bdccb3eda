from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipsieve.evaluation.separation import pixels_over_white, separation_auc, swap_captions
from clipsieve.schemas.errors import InputError


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40), st.integers(0, 2**32))
def test_swapping_is_a_permutation_that_changes_every_text(captions, seed):
    if 2 * max(Counter(captions).values()) > len(captions):
        with pytest.raises(InputError, match="too many to swap"):
            swap_captions(captions, seed)
        return
    swapped = swap_captions(captions, seed)
    assert sorted(swapped) == list(range(len(captions)))
    assert all(captions[row] != captions[other] for row, other in enumerate(swapped))
    assert np.array_equal(swapped, swap_captions(captions, seed))


def test_swaps_of_distinct_captions_are_spread_evenly():
    """Over many seeds row 0 meets each of the others about equally often: 3,000 draws of 1 in 10."""
    captions = [str(row) for row in range(11)]
    met = Counter(int(swap_captions(captions, seed)[0]) for seed in range(3_000))
    assert set(met) == set(range(1, 11))
    assert max(abs(count - 300) for count in met.values()) < 5 * np.sqrt(300 * 0.9)


def test_a_model_of_colours_tells_colours_apart(colour_model, colour_image):
    captions = ["red", "green", "blue"] * 4
    separation = separation_auc(colour_model, [colour_image(c) for c in captions], captions, captions)
    assert (separation.auc, separation.low, separation.high) == (1, 1, 1)
    assert (separation.pairs, separation.groups) == (12, 3)


def test_a_model_misled_is_below_one_half(colour_model, colour_image):
    captions = ["red", "green", "blue", "green"]
    images = [colour_image(name) for name in ("green", "blue", "red", "red")]
    assert separation_auc(colour_model, images, captions, list("abcd")).auc < 0.5


def test_a_random_model_cannot_tell(random_model, noise_images):
    images = noise_images(120)
    captions = [f"picture number {row}" for row in range(120)]
    separation = separation_auc(random_model, images, captions, captions)
    assert separation.low < 0.5 < separation.high
    assert separation == separation_auc(random_model, images, captions, captions)


def test_lists_must_be_of_one_length(random_model, noise_images):
    with pytest.raises(ValueError, match="as many images"):
        separation_auc(random_model, noise_images(2), ["a"], ["a"])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_white(mode, colour_model):
    stream = io.BytesIO()
    if mode == "P":
        image = Image.new("P", (2, 2), 0)
        image.putpalette([10, 20, 30])
        image.save(stream, "PNG", transparency=0)
    else:
        Image.new(mode, (2, 2), (10,) * (len(mode) - 1) + (0,)).save(stream, "PNG")
    assert pixels_over_white(colour_model, ("here", stream.getvalue())).unique().tolist() == [255]


def test_opaque_images_keep_their_colours(colour_model, colour_image):
    assert pixels_over_white(colour_model, ("here", colour_image("red")))[:, 0, 0].tolist() == [255, 0, 0]
