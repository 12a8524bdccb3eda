"""The training loader alone, next to webdataset: with open_clip's transform, as open_clip_train has it, and with ours.

All decode with Pillow, tokenize with the same tokenizer and end in normalised float32 batches. With our own functions
webdataset decodes at the scale that our loader decodes at, and hands out bytes that are normalised on the step's side,
as ours are. Each has one worker: of ours a thread, or a process, whose start is left out: time counts from the first
batch on, for all of them. CPU time is that of all processes, their start too.

In the first epoch every pair is decoded by each of them. In those that follow, our loader takes the pairs that it has
decoded from memory (`clipsieve.training.data.loader.CACHE_BYTES`), as a small study does; webdataset keeps none.

The last rows are what augmentations cost at 224 px, next to none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import open_clip
import torch
import webdataset

from benchmarks.inputs import pair_shards
from benchmarks.timing import Contender, Measured, Row, compare, on_cpu
from clipsieve.schemas.images import decode_image
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.tokenizer import tokenizer_for
from clipsieve.training.data.images import image_stages
from clipsieve.training.data.loader import PairReader, load_batches
from clipsieve.training.data.normalise import Normalise
from clipsieve.training.data.order import make_order
from clipsieve.training.data.plan import plan_samples
from clipsieve.training.data.texts import text_stages
from clipsieve.training.strategies.base import View
from clipsieve.training.towers.tower import Tower, load_tower

TOWER, LARGE_TOWER = "vit-tiny-64", "vit-b-32"
BUFFER = 1_000
"""Samples in webdataset's shuffle buffer, its documentation's choice."""
EPOCHS = 3
"""Of the rows on pairs that come again; a small study has ten or more."""
Augment: TypeAlias = Literal["none", "crop_flip", "randaugment", "stacked_randaugment"]
Load = Callable[..., Iterator[int]]
"""Gives the pairs of each batch of ``epochs``."""


def run(scratch: Path) -> list[Row]:
    """Pairs a second that one decoding worker hands to the step: of a first epoch, and of a few."""
    shards, tower = pair_shards(scratch), load_tower(TOWER)
    tars = [str(shards / f"{name}.tar") for name in list_shards(str(shards))]
    work: dict[str, Load] = {
        "clipsieve loader": partial(_clipsieve, shards, tower),
        "clipsieve loader, a process": partial(_clipsieve, shards, tower, workers=1),
        "webdataset, open_clip's transform": partial(_webdataset, tars, tower),
        "webdataset, clipsieve's functions": partial(_webdataset_alike, tars, tower),
    }
    large = load_tower(LARGE_TOWER)
    augments: dict[str, Load] = {name: partial(_clipsieve, shards, large, augment=name) for name in get_args(Augment)}
    return [
        *_rows("loader, first epoch", work, partial(_from_first_batch, epochs=1)),
        *_rows("loader, first epoch, CPU time", work, partial(_on_cpu, epochs=1)),
        *_rows(f"loader, {EPOCHS} epochs", work, partial(_from_first_batch, epochs=EPOCHS)),
        *_rows("augmentations at 224 px, CPU time", augments, partial(_on_cpu, epochs=1)),
    ]


def _rows(benchmark: str, work: dict[str, Load], measure: Callable[..., Measured]) -> list[Row]:
    return compare(benchmark, "pairs", [Contender(name, partial(measure, load)) for name, load in work.items()])


def _from_first_batch(load: Load, _: Path, epochs: int) -> Measured:
    batches = load(epochs=epochs)
    next(batches)
    start = time.perf_counter()
    amount = sum(batches)
    return Measured(amount, time.perf_counter() - start)


def _on_cpu(load: Load, folder: Path, epochs: int) -> Measured:
    return on_cpu(lambda _: sum(load(epochs=epochs)))(folder)


def _clipsieve(shards: Path, tower: Tower, epochs: int, augment: Augment = "none", workers: int = 0) -> Iterator[int]:
    options = TrainOptions(augment=augment, workers=workers)
    views = (View("image", options.augment),)
    plan = plan_samples(str(shards))
    reader = PairReader(make_order(plan, (), options.seed, options.batch_size), tower, views, options.text_mask)
    samples = epochs * len(plan)
    starts = range(0, samples, options.batch_size)
    shares = (range(start, min(start + options.batch_size, samples)) for start in starts)
    normalise = _normalise(tower)
    for batch in load_batches(reader, shares, options.workers):
        yield len(normalise(batch.images["image"]))


def _webdataset(tars: list[str], tower: Tower, epochs: int) -> Iterator[int]:
    config = dict(tower.preprocess_cfg)
    transform = open_clip.image_transform(config.pop("size"), is_train=False, **config)
    tokenizer = tokenizer_for(tower.model_cfg["text_cfg"])
    pairs = _shuffled(tars).decode("pilrgb").to_tuple("jpg", "txt")
    tensors = pairs.map_tuple(transform, lambda caption: tokenizer([caption])[0])
    return (len(images) for images, _ in _batches(tensors, epochs))


def _webdataset_alike(tars: list[str], tower: Tower, epochs: int) -> Iterator[int]:
    options = TrainOptions()
    encode, reduce = text_stages(options.text_mask, tower.model_cfg["text_cfg"])
    prepare, (augment,) = image_stages([options.augment], tower.preprocess_cfg)
    decode = partial(decode_image, where="a webdataset sample", least_side=tower.image_size)
    pairs = _shuffled(tars).to_tuple("jpg", "txt")
    arrays = pairs.map_tuple(
        lambda image: augment(prepare(decode(image).convert("RGB")), (options.seed, 0, 0)),
        lambda caption: reduce(encode(caption.decode()), (options.seed, 0)),
    )
    pixels = (torch.as_tensor(np.asarray(images)).permute(0, 3, 1, 2) for images, _ in _batches(arrays, epochs))
    normalise = _normalise(tower)
    return (len(normalise(images)) for images in pixels)


def _normalise(tower: Tower) -> Normalise:
    return Normalise(tower.preprocess_cfg, torch.device("cpu"))


def _shuffled(tars: list[str]) -> webdataset.WebDataset:
    return webdataset.WebDataset(tars, shardshuffle=len(tars), seed=0).shuffle(BUFFER)


def _batches(pairs: webdataset.WebDataset, epochs: int) -> Iterator[tuple[Any, Any]]:
    batches = pairs.batched(TrainOptions().batch_size)
    loader = webdataset.WebLoader(batches, batch_size=None, num_workers=1, persistent_workers=True)
    return chain.from_iterable(loader for _ in range(epochs))
