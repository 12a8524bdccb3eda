"""The training loader alone, beside a webdataset pipeline with open_clip's own transform, as open_clip_train has it.

Both decode with Pillow, resize alike, tokenize alike and end in normalised float32 batches: ours on the step's side.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import open_clip
import webdataset

from benchmarks.inputs import pair_shards
from benchmarks.timing import Contender, Row, clocked, compare
from schemas.recipe import TrainOptions
from schemas.samples import list_shards
from schemas.tokenizer import tokenizer_for
from training.data import PairReader, load_batches, normalise
from training.order import make_order
from training.plan import plan_samples
from training.strategies import View
from training.towers import Tower, load_tower

TOWER = "vit-tiny-64"
SHARDS_READ = 2
BUFFER = 1_000
"""Samples in webdataset's shuffle buffer, its documentation's choice."""


def run(scratch: Path) -> list[Row]:
    """Pairs a second that one decoding worker hands to the step, none of them seen before."""
    shards, tower = pair_shards(scratch), load_tower(TOWER)
    tars = [str(shards / f"{name}.tar") for name in list_shards(str(shards))[:SHARDS_READ]]
    pairs = len(plan_samples(str(shards))) * SHARDS_READ // len(list_shards(str(shards)))
    work = {
        "clipsieve loader": partial(_clipsieve, shards, tower, pairs),
        "webdataset": partial(_webdataset, tars, tower),
    }
    return compare("loader", "pairs", [Contender(name, clocked(function)) for name, function in work.items()])


def _clipsieve(shards: Path, tower: Tower, pairs: int, _: Path) -> int:
    options = TrainOptions()
    views = (View("image", options.augment),)
    order = make_order(plan_samples(str(shards)), (), options.seed)
    reader = PairReader(order, tower, views, options.text_mask)
    starts = range(0, pairs, options.batch_size)
    shares = (range(start, min(start + options.batch_size, pairs)) for start in starts)
    batches = load_batches(reader, shares, workers=1)
    return sum(len(normalise(batch.images["image"], tower.preprocess_cfg)) for batch in batches)


def _webdataset(tars: list[str], tower: Tower, _: Path) -> int:
    config = dict(tower.preprocess_cfg)
    transform = open_clip.image_transform(config.pop("size"), is_train=False, **config)
    tokenizer = tokenizer_for(tower.model_cfg["text_cfg"])
    pairs = (
        webdataset.WebDataset(tars, shardshuffle=len(tars), seed=0)
        .shuffle(BUFFER)
        .decode("pilrgb")
        .to_tuple("jpg", "txt")
    )
    tensors = pairs.map_tuple(transform, lambda caption: tokenizer([caption])[0])
    batches = tensors.batched(TrainOptions().batch_size)
    return sum(len(images) for images, _ in webdataset.WebLoader(batches, batch_size=None, num_workers=1))
