from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.evaluation.datasets.read import read_task
from clipsieve.evaluation.features.processes import Ranks
from clipsieve.schemas.errors import InputError

NAMES = ("cat", "dog")


@pytest.fixture
def task(tmp_path, noise_images, write_zero_shot):
    return read_task(str(write_zero_shot(tmp_path / "wds_any", noise_images(5), [0, 1, 0, 1, 0], NAMES)))


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache4").iterdir())


def test_features_are_of_unit_length_and_in_order(task, random_model, features_of):
    features = features_of(random_model)
    images = features.images(task)
    assert (images.dtype, images.shape) == (np.float32, (5, 32))
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-6)
    assert len({row.tobytes() for row in images}) == 5
    projected = features.pooled_images(task) @ random_model.model.visual.proj.detach().numpy()
    np.testing.assert_allclose(projected / np.linalg.norm(projected, axis=1, keepdims=True), images, atol=1e-6)


def test_an_image_is_embedded_once(task, random_model, features_of, tmp_path):
    features_of(random_model).images(task)
    before = cached(tmp_path)
    unread = replace(task, samples=replace(task.samples, stream=lambda start, stop: pytest.fail("read again")))
    features_of(random_model).images(unread)
    features_of(random_model, preset="openclip", prompts="name").pooled_images(unread)
    assert cached(tmp_path) == before


@pytest.mark.parametrize("change", ["model", "preset", "images", "border"])
def test_what_has_changed_is_embedded_anew(
    task, random_model, features_of, tmp_path, change, noise_images, write_zero_shot
):
    features_of(random_model).images(task)
    before = set(cached(tmp_path))
    model, preset = random_model, "openclip"
    if change == "model":
        model = replace(random_model, digest="f" * 32)
    elif change == "preset":
        preset = "paper"
    elif change == "images":
        images = noise_images(5, seed=9)
        task = read_task(str(write_zero_shot(tmp_path / "wds_other", images, [0, 1, 0, 1, 0], NAMES)))
    else:
        task = replace(task, samples=replace(task.samples, border=2))
    features_of(model, preset=preset).images(task)
    assert len(set(cached(tmp_path)) - before) == 2


def test_a_failed_embedding_leaves_nothing(tmp_path, random_model, noise_images, write_zero_shot, features_of):
    folder = write_zero_shot(tmp_path / "wds_any", [*noise_images(1), b"no image"], [0, 1], NAMES)
    with pytest.raises(InputError, match="sample s0000001: the image cannot be decoded"):
        features_of(random_model).images(read_task(str(folder)))
    assert not (tmp_path / "cache4").exists()


def test_classes_named_alike_are_embedded_once_and_equal(random_model, features_of):
    features = features_of(random_model)
    first = features.classes([["a missile", "missile"], ["a cat", "cat"], ["a missile", "missile"]])
    assert np.array_equal(first[0], first[2])
    second = features.classes([["a cat", "cat"], ["a dog", "dog"]])
    assert np.array_equal(first[1], second[0])


@given(st.integers(0, 1000), st.integers(1, 70))
def test_ranks_share_every_item_once(count, world):
    shares = [Ranks(rank, world).share(count) for rank in range(world)]
    assert [item for start, stop in shares for item in range(start, stop)] == list(range(count))
    sizes = [stop - start for start, stop in shares]
    assert max(sizes) - min(sizes) <= 1
