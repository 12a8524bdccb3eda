from __future__ import annotations

import io
from dataclasses import replace
from importlib.resources import files as resources
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from clipsieve.evaluation.features.embeddings import embed_images, embed_texts
from clipsieve.evaluation.features.presets import ImageProtocol
from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.models import load_model

TEXTS = ["a frog", "two dogs", "a frog", "", "a very long caption about " + "nothing " * 30]

pytestmark = pytest.mark.numeric


def named(images):
    return [(f"image {row}", data) for row, data in enumerate(images)]


def embedded(model, images, batch_size):
    return embed_images(model, named(images), batch_size, ImageProtocol("any", model.preprocess).pixels)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_images_equal_a_direct_forward_in_order(model_folder, random_model, noise_images, batch_size):
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{model_folder}")
    images = noise_images(8)
    pixels = torch.stack([preprocess(Image.open(io.BytesIO(data))) for data in images])
    with torch.no_grad():
        expected = torch.nn.functional.normalize(model.eval().encode_image(pixels), dim=1).numpy()
    unit = embedded(random_model, images, batch_size).unit
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, expected, atol=1e-6)


def test_pooled_features_of_a_transformer_are_what_its_projection_gets(random_model, noise_images):
    made = embedded(random_model, noise_images(3), 2)
    projected = made.pooled @ random_model.model.visual.proj.detach().numpy()
    np.testing.assert_allclose(projected / np.linalg.norm(projected, axis=1, keepdims=True), made.unit, atol=1e-6)
    assert made.pooled.shape == (3, 32)


def test_pooled_features_of_a_timm_tower_are_what_its_head_gets(noise_images):
    builtin = load_model(str(resources("clipsieve.pipelines") / "builtin"))
    made = embedded(builtin, noise_images(2), 2)
    visual: Any = builtin.model.visual
    with torch.no_grad():
        projected = visual.head(torch.from_numpy(made.pooled))
    np.testing.assert_allclose(torch.nn.functional.normalize(projected, dim=1).numpy(), made.unit, atol=1e-6)


def test_the_tower_is_left_as_it_was(random_model, noise_images):
    before = random_model.model.visual.proj
    embedded(random_model, noise_images(1), 1)
    assert random_model.model.visual.proj is before
    assert not random_model.model.visual._forward_hooks


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_texts_equal_a_direct_forward_and_repeat_bit_for_bit(random_model, batch_size):
    with torch.no_grad():
        features = random_model.model.encode_text(random_model.tokenizer(TEXTS))
        expected = torch.nn.functional.normalize(features, dim=1).numpy()
    texts = embed_texts(random_model, TEXTS, batch_size)
    np.testing.assert_allclose(texts, expected, atol=1e-6)
    assert np.array_equal(texts[0], texts[2])


def test_an_image_that_cannot_be_decoded_is_named(random_model, noise_images):
    images = [*noise_images(2), noise_images(1)[0][:200], b"<html>"]
    with pytest.raises(InputError, match=r"^image 2: the image cannot be decoded"):
        embedded(random_model, images, 2)
    with pytest.raises(InputError, match=r"^image 0: the image cannot be decoded"):
        embedded(random_model, images[3:], 2)


def test_a_model_that_gives_nan_is_refused(colour_model, colour_image):
    torch.nn.init.constant_(colour_model.model.scale, float("nan"))
    broken = replace(colour_model, name="broken")
    with pytest.raises(ClipsieveError, match="broken: the model gives embeddings that are not finite"):
        embedded(broken, [colour_image("red")], 1)
