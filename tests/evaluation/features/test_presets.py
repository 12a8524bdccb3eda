from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipsieve.evaluation.datasets.read import read_task
from clipsieve.evaluation.features.presets import ASPECT, SQUARE, SQUASH, image_protocol, paper_pixels

SIDE = 32


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def bilinear(image, size):
    """TensorFlow's bilinear without antialiasing, truncated to bytes: half-pixel centres, as torch's."""
    pixels = torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None]
    return torch.nn.functional.interpolate(pixels, size, mode="bilinear", align_corners=False)[0].to(torch.uint8)


@given(st.integers(20, 90), st.integers(20, 90))
def test_square_is_a_squash_to_side_by_0875_then_the_centre(width, height):
    image = noise(width, height)
    expected = bilinear(image, (36, 36))[:, 2:34, 2:34].float() / 127.5 - 1  # int(32 / 0.875) = 36
    made = paper_pixels(image, SQUARE, SIDE)
    assert made.shape == (3, SIDE, SIDE)
    assert (made - expected).abs().max() <= 1.01 / 127.5  # a level, where a whole value's last bit falls below it
    assert (made - expected).abs().mean() < 0.5 / 127.5


def test_retrieval_is_a_plain_squash():
    image = noise(60, 40)
    expected = bilinear(image, (SIDE, SIDE)).float() / 127.5 - 1
    assert ((paper_pixels(image, SQUASH, SIDE) - expected).abs() > 1e-6).float().mean() < 0.01


def test_imagenet_a_keeps_its_shape_and_averages_areas():
    image = noise(2 * 42 * 3, 2 * 42)  # the short side to int(32 / 0.75) = 42, by a whole factor of 2
    pixels = np.asarray(image, np.float32).reshape(42, 2, 126, 2, 3).mean(axis=(1, 3))
    expected = np.trunc(pixels[5:37, 47:79]).transpose(2, 0, 1) / 127.5 - 1
    np.testing.assert_allclose(paper_pixels(image, ASPECT, SIDE).numpy(), expected, atol=1e-6)


def test_values_are_within_minus_one_and_one():
    for level, value in ((0, -1.0), (255, 1.0)):
        image = Image.new("RGB", (50, 40), (level,) * 3)
        assert paper_pixels(image, SQUARE, SIDE).unique().tolist() == [value]


@pytest.mark.parametrize(
    ("key", "is_retrieval", "shape"),
    [("things", False, SQUARE), ("imagenet-a", False, ASPECT), ("things", True, SQUASH)],
)
def test_the_paper_has_a_shape_a_task(
    tmp_path, random_model, noise_images, write_zero_shot, write_retrieval, key, is_retrieval, shape
):
    images = noise_images(1)
    if is_retrieval:
        folder = write_retrieval(tmp_path / f"wds_{key}", images, [["a thing"]])
    else:
        folder = write_zero_shot(tmp_path / "wds_things", images, [0], ["thing"])
    task = read_task(str(folder))
    object.__setattr__(task, "key", key)
    protocol = image_protocol("paper", random_model, task)
    assert protocol.name == f"paper-{shape}-32"
    image = Image.open(io.BytesIO(images[0]))
    assert torch.equal(protocol.pixels(("here", images[0])), paper_pixels(image, shape, 32))


def test_openclip_is_the_models_own_and_drops_alpha_as_its_peers_do(tmp_path, random_model, write_zero_shot):
    stream = io.BytesIO()
    Image.new("RGBA", (40, 40), (10, 20, 30, 0)).save(stream, "PNG")
    task = read_task(str(write_zero_shot(tmp_path / "wds_any", [stream.getvalue()], [0], ["thing"])))
    protocol = image_protocol("openclip", random_model, task)
    expected = random_model.preprocess(Image.open(stream).convert("RGB"))
    assert torch.equal(protocol.pixels(("here", stream.getvalue())), expected)
    assert expected.unique().numel() == 3
