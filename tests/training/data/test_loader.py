"""Batches against the samples that the shards hold, whatever the workers and the room for the cache."""

from __future__ import annotations

import io
import re
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipsieve.schemas import samples
from clipsieve.schemas.images import decode_sample
from clipsieve.schemas.tokenizer import tokenizer_for
from clipsieve.training.data.images import fit_to_tower
from clipsieve.training.data.loader import ATTEMPTS, Batch, PairReader, load_batches
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


def read(plan, tower, augment="none", workers=0, size=8, until=120, cache_bytes=None):
    """Copies of the batches: the loader writes into their memory again."""
    order, views = make_order(plan, (), 5, 32), (View("image", augment),)
    reader = PairReader(order, tower, views, "truncate", cache_bytes=cache_bytes)
    shares = [range(start, start + size) for start in range(0, until, size)]
    for batch in load_batches(reader, shares, workers):
        yield Batch({"image": batch.images["image"].clone()}, batch.texts.clone(), batch.bad)


def stream(plan, tower, *arguments, **options):
    batches = [*read(plan, tower, *arguments, **options)]
    return torch.cat([batch.images["image"] for batch in batches]), torch.cat([batch.texts for batch in batches])


def assert_equal(ours, theirs):
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_batches_hold_the_images_and_captions_of_the_stream(plan, tower):
    images, texts = stream(plan, tower)
    at = {(tar, sample.offset): sample for tar in plan.tars for sample in samples.iter_samples(tar)}
    held = [at[tar, offset] for tar, offset, _ in plan.ranges(range(len(plan)))]
    expected = [held[index] for index in make_order(plan, (), 5, 32).slice(0, 120)]
    prepare = fit_to_tower(tower.preprocess_cfg)
    pixels = np.stack([prepare(decode_sample(sample, "held", 16)) for sample in expected])
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), pixels)
    assert torch.equal(texts, tokenizer_for(tower.model_cfg["text_cfg"])([sample.caption for sample in expected]))


@pytest.mark.parametrize("augment", ["none", "stacked_randaugment"])
def test_neither_workers_nor_batch_borders_change_the_stream(plan, tower, augment):
    whole = stream(plan, tower, augment)
    assert_equal(whole, stream(plan, tower, augment, size=5))
    assert_equal(whole, stream(plan, tower, augment, workers=3, size=5))


def test_what_is_kept_is_what_would_be_decoded_again(plan, tower):
    kept = stream(plan, tower, "crop_flip")
    assert_equal(kept, stream(plan, tower, "crop_flip", cache_bytes=5000))


def test_the_cache_stays_within_its_room(plan, tower):
    reader = PairReader(make_order(plan, (), 0, 32), tower, (View("image", "none"),), "truncate", cache_bytes=5000)
    reader.fill(range(len(plan)), reader.allocate(len(plan)))
    held = sum(array.nbytes for pair in reader._cache.values() for array in pair)
    assert 4000 < held <= 5000


def test_parts_fill_each_row_once_and_keep_to_their_samples(plan, tower):
    """Over two epochs, each sample is decoded by one part alone."""
    order, views, positions = make_order(plan, (), 5, 32), (View("image", "none"),), range(2 * len(plan))
    readers = [PairReader(order, tower, views, "truncate") for _ in range(3)]
    arrays = readers[0].allocate(len(positions))
    for part, reader in enumerate(readers):
        assert not reader.fill(positions, arrays, part, 3)
    whole = readers[0].allocate(len(positions))
    PairReader(order, tower, views, "truncate").fill(positions, whole)
    assert all(np.array_equal(arrays[name], whole[name]) for name in whole)
    assert sorted(index for reader in readers for index in reader._cache) == list(range(len(plan)))


def test_augmented_epochs_differ(plan, tower):
    images, _ = stream(plan, tower, "crop_flip", size=len(plan), until=2 * len(plan))
    indices = make_order(plan, (), 5, 32).slice(0, 2 * len(plan))
    first, second = np.argsort(indices[: len(plan)]), len(plan) + np.argsort(indices[len(plan) :])
    assert all(not torch.equal(images[a], images[b]) for a, b in zip(first, second, strict=True))


def test_a_batch_that_is_not_wanted_ends_the_thread(plan, tower):
    before = set(threading.enumerate())
    batches = read(plan, tower, size=4)
    next(batches)
    assert set(threading.enumerate()) > before
    batches.close()
    assert set(threading.enumerate()) <= before


def damaged_plan(plan, folder, change):
    """The plan with its first tar changed; ``change`` is done to the tar's bytes."""
    content = bytearray(Path(plan.tars[0]).read_bytes())
    tar = folder / "00000.tar"
    tar.write_bytes(change(content))
    return replace(plan, tars=(str(tar), *plan.tars[1:]))


def zeroed(content):
    """Without the header of the first sample's image."""
    content[512:812] = bytes(300)
    return content


def elongated(content):
    """The first sample's image is 3000 x 1 pixels."""
    size = int(bytes(content[124:135]), 8)
    long = io.BytesIO()
    Image.new("RGB", (3000, 1)).save(long, "JPEG")
    assert len(long.getvalue()) <= size
    content[512 : 512 + size] = long.getvalue().ljust(size, b"\0")
    return content


def first_of_tar(plan):
    rows = plan.rows
    return min(np.flatnonzero(rows["shard"] == 0), key=lambda index: rows["start"][index])


@pytest.mark.parametrize(
    "change, resize_mode, reason",
    [
        (zeroed, "squash", r"00000.tar: sample 000000000: the image cannot be decoded"),
        (elongated, "longest", r"00000.tar: sample 000000000: the image cannot be resized"),
    ],
)
def test_another_sample_takes_the_place_of_a_bad_one(plan, tower, tmp_path, change, resize_mode, reason):
    tower = replace(tower, preprocess_cfg={**tower.preprocess_cfg, "resize_mode": resize_mode})
    lost = int(first_of_tar(plan))
    order = make_order(plan, (), 5, 32)
    places = np.flatnonzero(order.slice(0, 120) == lost)
    assert len(places) > 1  # in each epoch
    images, texts = stream(plan, tower)
    batches = [*read(damaged_plan(plan, tmp_path, change), tower)]
    found = [sample for batch in batches for sample in batch.bad]
    assert [sample.position for sample in found] == places.tolist()
    assert all(re.search(reason, sample.reason) and sample.offset == 0 for sample in found)
    at = {index: place for place, index in enumerate(order.slice(0, 120).tolist())}
    others = np.arange(120)
    others[places] = [at[order.replacement(place, 1)] for place in places.tolist()]
    assert torch.equal(torch.cat([batch.images["image"] for batch in batches]), images[others])
    assert torch.equal(torch.cat([batch.texts for batch in batches]), texts[others])


def cut(plan):
    """The tar ends within its sixth sample."""
    end = int(np.sort(plan.rows["start"][plan.rows["shard"] == 0])[5]) * 512 + 700
    return lambda content: content[:end]


def test_what_takes_the_places_of_a_cut_tars_samples_hangs_on_no_worker(plan, tower, tmp_path):
    damaged = damaged_plan(plan, tmp_path, cut(plan))
    one, three = [*read(damaged, tower, "crop_flip", size=12)], [*read(damaged, tower, "crop_flip", 3, size=12)]
    assert [batch.bad for batch in one] == [batch.bad for batch in three]
    for ours, theirs in zip(one, three, strict=True):
        assert torch.equal(ours.images["image"], theirs.images["image"]) and torch.equal(ours.texts, theirs.texts)
    lost = (plan.rows["shard"] == 0).sum() - 5
    assert len({sample.offset for batch in one for sample in batch.bad}) == lost > 10
    assert all("truncated" in sample.reason for batch in one for sample in batch.bad)


def test_an_offset_of_another_tar_is_a_bad_sample_until_none_is_left(plan, tower):
    rows = plan.rows.copy()
    rows["start"] += 1
    batch = next(read(replace(plan, columns={**plan.columns, "rows": rows}), tower, until=8))
    assert batch.bad[-1].is_last and len(batch.bad) == ATTEMPTS
    assert ".tar: " in batch.bad[0].reason


@pytest.mark.parametrize("workers", [0, 2])
def test_of_a_store_that_is_gone_every_worker_stops_at_once(plan, tower, tmp_path, workers):
    gone = replace(plan, tars=tuple(str(tmp_path / f"{n}.tar") for n in range(len(plan.tars))))
    batch = next(read(gone, tower, workers=workers, size=32))
    assert len(batch.bad) == ATTEMPTS * max(1, workers)
    assert all(re.fullmatch(r".*\d.tar: no such file", sample.reason) for sample in batch.bad)


def test_the_samples_of_a_step_are_named_though_one_cannot_be_read(plan, tower, tmp_path):
    damaged = damaged_plan(plan, tmp_path, cut(plan))
    reader = PairReader(make_order(damaged, (), 5, 32), tower, (View("image", "none"),), "truncate")
    names = reader.names(range(len(plan)))
    assert len(names) == len(plan) and sum(key is None for _, key in names) == (plan.rows["shard"] == 0).sum() - 5
