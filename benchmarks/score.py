"""Score: one shard through the job's model handler, next to plain loops around the same reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.inputs import pair_shards
from benchmarks.timing import Contender, Row, clocked, compare, cores
from clipsieve.pipelines.score.references import BUILTIN, load_reference
from clipsieve.pipelines.score.shard import OpenClipModelHandler, References, ShardTask
from clipsieve.schemas.images import decode_sample
from clipsieve.schemas.models import LoadedModel
from clipsieve.schemas.options import ScoreOptions
from clipsieve.schemas.samples import Sample, iter_samples
from clipsieve.schemas.shards import list_shards


def run(scratch: Path) -> list[Row]:
    """Pairs a second from a shard to similarities, decoding included, the model already loaded."""
    shards = str(pair_shards(scratch))
    task = ShardTask(shards, list_shards(shards)[0])
    options, reference = ScoreOptions(), load_reference(BUILTIN)
    handler = OpenClipModelHandler(options, (reference.digest,), (), cores(), opt_out=None)
    work = {
        "clipsieve score": partial(_handler, handler, handler.load_model(), task),
        "bare open_clip loop": partial(_bare_loop, reference, task, options.batch_size),
        "open_clip with a DataLoader": partial(_data_loader, reference, task, options.batch_size),
    }
    return compare("score", "pairs", [Contender(name, clocked(function)) for name, function in work.items()])


@dataclass(frozen=True)
class Samples(Dataset[Any]):
    """A shard's samples, prepared for a model one at a time, as open_clip's examples do it."""

    samples: list[Sample]
    reference: LoadedModel

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        sample = self.samples[index]
        image = self.reference.preprocess(decode_sample(sample, sample.key))
        return image, self.reference.tokenizer([sample.caption])[0]


def _handler(handler: OpenClipModelHandler, model: References, task: ShardTask, _: Path) -> int:
    return sum(len(scores.table) for scores in handler.run_inference([task], model))


def _bare_loop(reference: LoadedModel, task: ShardTask, batch_size: int, _: Path) -> int:
    """Decode a batch, then embed it with all of torch's threads."""
    samples = list(iter_samples(task.tar))

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(samples), batch_size):
            batch = samples[start : start + batch_size]
            pixels = [reference.preprocess(decode_sample(sample, task.tar)) for sample in batch]
            yield torch.stack(pixels), reference.tokenizer([sample.caption for sample in batch])

    return _count_similarities(reference, batches())


def _data_loader(reference: LoadedModel, task: ShardTask, batch_size: int, _: Path) -> int:
    """Decode in as many worker processes as there are cores, embed in this one."""
    samples = Samples(list(iter_samples(task.tar)), reference)
    batches = DataLoader(samples, batch_size=batch_size, num_workers=cores())
    return _count_similarities(reference, iter(batches))


def _count_similarities(reference: LoadedModel, batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> int:
    similarities = []
    with torch.inference_mode():
        for images, texts in batches:
            image = reference.model.encode_image(images, normalize=True)  # type: ignore[operator]
            text = reference.model.encode_text(texts, normalize=True)  # type: ignore[operator]
            similarities.append((image * text).sum(dim=1))
    return len(torch.cat(similarities))
