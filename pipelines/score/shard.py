"""One shard under the references: its samples streamed, embedded and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from apache_beam.ml.inference.base import ModelHandler

from clipsieve.pipelines.score.embed import Embedded, EmbeddedBatch, embed
from clipsieve.pipelines.score.heads import Head
from clipsieve.pipelines.score.references import embedding_width, load_reference
from clipsieve.pipelines.score.table import (
    ScoreOrigin,
    ShardScores,
    concatenated,
    half_embeddings,
    score_columns,
    score_table,
)
from clipsieve.pipelines.shards.rows import iter_shard_samples, read_rows
from clipsieve.schemas import files
from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.models import LoadedModel
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.options import ScoreOptions
from clipsieve.schemas.shards import tar_of


@dataclass(frozen=True)
class References:
    """What a worker process keeps from shard to shard."""

    models: tuple[LoadedModel, ...]
    widths: tuple[int, ...]
    """How many numbers an embedding of each has."""


@dataclass(frozen=True)
class ShardTask:
    """One shard to score."""

    folder: str
    name: str

    @property
    def tar(self) -> str:
        return tar_of(self.folder, self.name)

    @property
    def parquet(self) -> str:
        return files.join(self.folder, f"{self.name}.parquet")

    @property
    def stats(self) -> str:
        return files.join(self.folder, f"{self.name}_stats.json")


class OpenClipModelHandler(ModelHandler[ShardTask, ShardScores, References]):
    """Runs the references over whole shards; a shard is a batch by itself.

    ``digests`` are the references' as the driver loaded them: a worker that loads another model under the same name
    fails.
    """

    def __init__(
        self,
        options: ScoreOptions,
        digests: tuple[str, ...],
        heads: tuple[Head, ...],
        threads: int,
        opt_out: str | None,
    ) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1)
        self.options = options
        self.digests = digests
        self.heads = heads
        self.threads = threads
        self.opt_out = opt_out

    def load_model(self) -> References:
        models = tuple(map(load_reference, self.options.references))
        for loaded, digest in zip(models, self.digests, strict=True):
            if loaded.digest != digest:
                raise ClipsieveError(f"{loaded.name}: this worker loaded another model than the driver")
            loaded.model.to("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.allow_tf32 = False
        return References(models, tuple(map(embedding_width, models)))

    def run_inference(
        self, batch: Sequence[ShardTask], model: References, inference_args: dict[str, Any] | None = None
    ) -> Iterable[ShardScores]:
        return [self._score(task, model) for task in batch]

    def get_num_bytes(self, batch: Sequence[ShardTask]) -> int:
        return sum(len(task.name) for task in batch)

    def _score(self, task: ShardTask, references: References) -> ShardScores:
        rows = read_rows(task.folder, task.name)
        is_listed = load_opt_out(self.opt_out).forbids_rows(rows, task.parquet)
        left_out = set(rows["key"].filter(pa.array(is_listed)).to_pylist())
        rows = rows.filter(pa.array(~is_listed))
        samples = (sample for sample in iter_shard_samples(task.folder, task.name) if sample.key not in left_out)
        batches = embed(
            samples, references.models, task.tar, self.options.batch_size, self.threads, self.options.precision
        )
        return self._gather(task, rows, batches, references.widths)

    def _gather(
        self, task: ShardTask, rows: pa.Table, batches: Iterable[EmbeddedBatch], widths: tuple[int, ...]
    ) -> ShardScores:
        keys: list[str] = []
        captions: list[str] = []
        nothing = [Embedded(np.zeros((0, width), np.float32), np.zeros((0, width), np.float32)) for width in widths]
        scores = [score_columns(nothing, self.heads)]
        embeddings = [half_embeddings(nothing)] if self.options.embeddings else []
        for batch in batches:
            keys += batch.keys
            captions += batch.captions
            scores.append(score_columns(batch.by_reference, self.heads))
            if self.options.embeddings:
                embeddings.append(half_embeddings(batch.by_reference))
        table = score_table(
            _pairs(task, keys, rows),
            captions,
            concatenated(scores),
            ScoreOrigin(self.digests, self.options.precision),
            self.options.language,
            task.tar,
        )
        return ShardScores(task.name, table, concatenated(embeddings) if embeddings else {})


def _pairs(task: ShardTask, keys: Sequence[str], rows: pa.Table) -> pa.Table:
    """uid, shard and key of the samples ``keys``, which must be those of ``rows``, each once."""
    uids = dict(zip(rows["key"].to_pylist(), rows["uid"].to_pylist(), strict=True))
    if sorted(keys) != sorted(uids):
        here, listed = Counter(keys), Counter(uids.keys())
        odd = sorted((here - listed) + (listed - here))
        raise InputError(f"{task.tar}: {len(odd)} samples are not once here and in its Parquet, the first {odd[0]}")
    columns = {"uid": [uids[key] for key in keys], "shard": [task.name] * len(keys), "key": keys}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
