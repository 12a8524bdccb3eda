from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from evaluation.embeddings import decode_image, embed_images, embed_texts
from schemas.errors import ClipsieveError, InputError

TEXTS = ["a frog", "two dogs", "a frog", "", "a very long caption about " + "nothing " * 30]


def named(images):
    return [(f"image {row}", data) for row, data in enumerate(images)]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_images_equal_a_direct_forward_in_order(model_folder, random_model, noise_images, batch_size):
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{model_folder}")
    images = noise_images(8)
    pixels = torch.stack([preprocess(Image.open(io.BytesIO(data))) for data in images])
    with torch.no_grad():
        expected = torch.nn.functional.normalize(model.eval().encode_image(pixels), dim=1).numpy()
    embedded = embed_images(random_model, named(images), batch_size)
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, expected, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_texts_equal_a_direct_forward_and_repeat_bit_for_bit(random_model, batch_size):
    with torch.no_grad():
        features = random_model.model.encode_text(random_model.tokenizer(TEXTS))
        expected = torch.nn.functional.normalize(features, dim=1).numpy()
    embedded = embed_texts(random_model, TEXTS, batch_size)
    np.testing.assert_allclose(embedded, expected, atol=1e-6)
    assert np.array_equal(embedded[0], embedded[2])


def test_an_image_that_cannot_be_decoded_is_named(random_model, noise_images):
    images = [*noise_images(2), noise_images(1)[0][:200], b"<html>"]
    with pytest.raises(InputError, match=r"^image 2: not a readable image"):
        embed_images(random_model, named(images), 2)
    with pytest.raises(InputError, match=r"^image 3: not a readable image"):
        embed_images(random_model, named(images)[3:], 2)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_white(mode):
    stream = io.BytesIO()
    if mode == "P":
        image = Image.new("P", (2, 2), 0)
        image.putpalette([10, 20, 30])
        image.save(stream, "PNG", transparency=0)
    else:
        Image.new(mode, (2, 2), (10,) * (len(mode) - 1) + (0,)).save(stream, "PNG")
    assert np.array(decode_image("here", stream.getvalue())).tolist() == [[[255] * 3] * 2] * 2


def test_opaque_images_keep_their_colours(colour_image):
    assert np.array(decode_image("here", colour_image("red")))[0, 0].tolist() == [255, 0, 0]


def test_a_model_that_gives_nan_is_refused(colour_model, colour_image):
    torch.nn.init.constant_(colour_model.model.scale, float("nan"))
    broken = replace(colour_model, name="broken")
    with pytest.raises(ClipsieveError, match="broken: the model gives embeddings that are not finite"):
        embed_images(broken, named([colour_image("red")]), 1)
