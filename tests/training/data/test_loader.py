"""Batches against the samples that the shards hold, whatever the threads and the room for the cache."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipsieve.schemas import samples
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.images import decode_sample
from clipsieve.schemas.tokenizer import tokenizer_for
from clipsieve.training.data import loader as data
from clipsieve.training.data.images import fit_to_tower
from clipsieve.training.data.loader import PairReader, load_batches
from clipsieve.training.data.order import make_order
from clipsieve.training.data.plan import plan_samples
from clipsieve.training.strategies.base import View
from clipsieve.training.towers.tower import load_tower


@pytest.fixture
def tower(tower_file):
    return load_tower(tower_file)


@pytest.fixture
def plan(shards):
    return plan_samples(shards)


def stream(plan, tower, augment="none", workers=1, size=8, until=120):
    reader = PairReader(make_order(plan, (), 5, 32), tower, (View("image", augment),), "truncate")
    shares = [range(start, start + size) for start in range(0, until, size)]
    batches = list(load_batches(reader, shares, workers))
    return torch.cat([batch.images["image"] for batch in batches]), torch.cat([batch.texts for batch in batches])


def assert_equal(ours, theirs):
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_batches_hold_the_images_and_captions_of_the_stream(plan, tower):
    images, texts = stream(plan, tower)
    at = {(tar, sample.offset): sample for tar in plan.tars for sample in samples.iter_samples(tar)}
    held = [at[tar, offset] for tar, offset, _ in plan.ranges(range(len(plan)))]
    expected = [held[index] for index in make_order(plan, (), 5, 32).slice(0, 120)]
    prepare = fit_to_tower(tower.preprocess_cfg)
    pixels = np.stack([prepare(decode_sample(sample, "held")) for sample in expected])
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), pixels)
    assert torch.equal(texts, tokenizer_for(tower.model_cfg["text_cfg"])([sample.caption for sample in expected]))


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_neither_threads_nor_batch_borders_change_the_stream(plan, tower, augment):
    whole = stream(plan, tower, augment)
    assert_equal(whole, stream(plan, tower, augment, workers=3))
    assert_equal(whole, stream(plan, tower, augment, workers=2, size=5))


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_what_is_kept_is_what_would_be_decoded_again(plan, tower, augment, monkeypatch):
    kept = stream(plan, tower, augment)
    monkeypatch.setattr(data, "CACHE_BYTES", 5000)
    assert_equal(kept, stream(plan, tower, augment, workers=2))


def test_the_cache_stays_within_its_room(plan, tower, monkeypatch):
    monkeypatch.setattr(data, "CACHE_BYTES", 5000)
    reader = PairReader(make_order(plan, (), 0, 32), tower, (View("image", "none"),), "truncate")
    reader.read(range(len(plan)))
    held = sum(array.nbytes for pair in reader._cache.values() for array in pair)
    assert 4000 < held <= 5000


def test_augmented_epochs_differ(plan, tower):
    images, _ = stream(plan, tower, "crop_flip", size=len(plan), until=2 * len(plan))
    indices = make_order(plan, (), 5, 32).slice(0, 2 * len(plan))
    first, second = np.argsort(indices[: len(plan)]), len(plan) + np.argsort(indices[len(plan) :])
    assert all(not torch.equal(images[a], images[b]) for a, b in zip(first, second, strict=True))


def test_a_batch_that_is_not_wanted_ends_the_threads(plan, tower):
    before = set(threading.enumerate())
    batches = load_batches(
        PairReader(make_order(plan, (), 0, 32), tower, (View("image", "none"),), "truncate"), [range(4)] * 100, 2
    )
    next(batches)
    assert set(threading.enumerate()) > before
    batches.close()
    assert set(threading.enumerate()) <= before


def test_an_image_that_cannot_be_decoded_names_its_sample(shards, tower, tmp_path):
    plan = plan_samples(shards)
    content = bytearray(Path(plan.tars[0]).read_bytes())
    first_image = plan.ranges([0])[0][1] + 512
    content[first_image : first_image + 300] = bytes(300)
    tar = tmp_path / "00000.tar"
    tar.write_bytes(content)
    damaged = replace(plan, tars=(str(tar), *plan.tars[1:]))
    with pytest.raises(InputError, match=r"00000.tar: sample 000000000: the image cannot be decoded"):
        stream(damaged, tower, until=len(plan) + 10)


def test_an_image_of_which_nothing_would_be_left_names_its_sample(shards, tower, tmp_path):
    """1 x 3000 pixels, its longer side brought down to the tower's."""
    plan = plan_samples(shards)
    content = bytearray(Path(plan.tars[0]).read_bytes())
    size = int(bytes(content[124:135]), 8)
    long = io.BytesIO()
    Image.new("RGB", (3000, 1)).save(long, "JPEG")
    assert len(long.getvalue()) <= size
    content[512 : 512 + size] = long.getvalue().ljust(size, b"\0")
    tar = tmp_path / "00000.tar"
    tar.write_bytes(content)
    longest = replace(tower, preprocess_cfg={**tower.preprocess_cfg, "resize_mode": "longest"})
    with pytest.raises(InputError, match=r"00000.tar: sample 000000000: the image cannot be resized"):
        stream(replace(plan, tars=(str(tar), *plan.tars[1:])), longest)


def test_an_offset_of_another_tar_is_refused(plan, tower):
    rows = plan.rows.copy()
    rows["start"] += 1
    wrong = replace(plan, columns={**plan.columns, "rows": rows})
    with pytest.raises(InputError, match=r"\.tar: "):
        stream(wrong, tower, until=8)


def test_a_tar_that_is_gone_is_named(plan, tower, tmp_path):
    gone = replace(plan, tars=tuple(str(tmp_path / f"{n}.tar") for n in range(len(plan.tars))))
    with pytest.raises(InputError, match=r"\d.tar: no such file"):
        stream(gone, tower, until=8)
