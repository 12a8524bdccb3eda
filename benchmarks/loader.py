"""The training loader alone, beside webdataset: with open_clip's transform, as open_clip_train has it, and with ours.

All decode with Pillow, resize alike, tokenize with the same tokenizer and end in normalised float32 batches. With our
own functions webdataset hands out bytes that are normalised on the step's side, as ours are.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
import webdataset

from benchmarks.inputs import pair_shards
from benchmarks.timing import Contender, Row, clocked, compare
from schemas.recipe import TrainOptions
from schemas.samples import list_shards
from schemas.tokenizer import tokenizer_for
from training.data import PairReader, load_batches, normalise
from training.images import image_stages
from training.order import make_order
from training.plan import plan_samples
from training.strategies import View
from training.texts import text_stages
from training.towers import Tower, load_tower

TOWER = "vit-tiny-64"
BUFFER = 1_000
"""Samples in webdataset's shuffle buffer, its documentation's choice."""


def run(scratch: Path) -> list[Row]:
    """Pairs a second that one decoding worker hands to the step, none of them seen before."""
    shards, tower = pair_shards(scratch), load_tower(TOWER)
    tars = [str(shards / f"{name}.tar") for name in list_shards(str(shards))]
    work = {
        "clipsieve loader": partial(_clipsieve, shards, tower),
        "webdataset, open_clip's transform": partial(_webdataset, tars, tower),
        "webdataset, clipsieve's functions": partial(_webdataset_alike, tars, tower),
    }
    return compare("loader", "pairs", [Contender(name, clocked(function)) for name, function in work.items()])


def _clipsieve(shards: Path, tower: Tower, _: Path) -> int:
    options = TrainOptions()
    views = (View("image", options.augment),)
    plan = plan_samples(str(shards))
    reader = PairReader(make_order(plan, (), options.seed), tower, views, options.text_mask)
    starts = range(0, len(plan), options.batch_size)
    shares = (range(start, min(start + options.batch_size, len(plan))) for start in starts)
    batches = load_batches(reader, shares, workers=1)
    return sum(len(normalise(batch.images["image"], tower.preprocess_cfg)) for batch in batches)


def _webdataset(tars: list[str], tower: Tower, _: Path) -> int:
    config = dict(tower.preprocess_cfg)
    transform = open_clip.image_transform(config.pop("size"), is_train=False, **config)
    tokenizer = tokenizer_for(tower.model_cfg["text_cfg"])
    pairs = _shuffled(tars).decode("pilrgb").to_tuple("jpg", "txt")
    tensors = pairs.map_tuple(transform, lambda caption: tokenizer([caption])[0])
    return sum(len(images) for images, _ in _batches(tensors))


def _webdataset_alike(tars: list[str], tower: Tower, _: Path) -> int:
    options = TrainOptions()
    encode, reduce = text_stages(options.text_mask, tower.model_cfg["text_cfg"])
    prepare, (augment,) = image_stages([options.augment], tower.preprocess_cfg)
    pairs = _shuffled(tars).to_tuple("jpg", "txt")
    arrays = pairs.map_tuple(
        lambda image: augment(prepare(image), (options.seed, 0, 0)),
        lambda caption: reduce(encode(caption.decode()), (options.seed, 0)),
    )
    pixels = (torch.as_tensor(np.asarray(images)).permute(0, 3, 1, 2) for images, _ in _batches(arrays))
    return sum(len(normalise(images, tower.preprocess_cfg)) for images in pixels)


def _shuffled(tars: list[str]) -> webdataset.WebDataset:
    return webdataset.WebDataset(tars, shardshuffle=len(tars), seed=0).shuffle(BUFFER)


def _batches(pairs: webdataset.WebDataset) -> webdataset.WebLoader:
    return webdataset.WebLoader(pairs.batched(TrainOptions().batch_size), batch_size=None, num_workers=1)
