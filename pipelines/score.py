"""Score every pair of a folder of shards: how well its image and caption match under a reference CLIP.

    shards -> RunInference(OpenClipModelHandler) -> write OUT/NNNNN.parquet

An element is a shard's name; its images are read, decoded and embedded within one step and never cross a
shuffle.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import torch
from apache_beam.ml.inference.base import ModelHandler, RunInference

from pipelines import engine
from pipelines.command import run_command
from pipelines.embed import Embedded, embed
from pipelines.parts import ListParts, Part, folder_digest, part_of, read_parts
from pipelines.progress import Reading, progress
from pipelines.references import load_reference
from pipelines.rows import read_rows
from schemas import files, manifest, tables
from schemas.errors import ClipsieveError, InputError
from schemas.manifest import Manifest
from schemas.models import LoadedModel
from schemas.opt_out import OPTED_OUT, load_opt_out
from schemas.recipe import ScoreOptions
from schemas.samples import iter_samples, list_shards

PAIRS_PER_WORKER = 5_000
"""Pairs whose scoring is worth the seconds in which a worker process starts and loads the reference."""
_STATS_THREADS = 16


@dataclass(frozen=True)
class ShardTask:
    """One shard to score."""

    folder: str
    name: str

    @property
    def tar(self) -> str:
        return files.join(self.folder, f"{self.name}.tar")

    @property
    def parquet(self) -> str:
        return files.join(self.folder, f"{self.name}.parquet")


@dataclass(frozen=True)
class ShardScores:
    """One shard's scores, and its embeddings where they were asked for."""

    name: str
    table: pa.Table
    embeddings: dict[str, np.ndarray] | None


class OpenClipModelHandler(ModelHandler[ShardTask, ShardScores, LoadedModel]):
    """Runs a reference over whole shards, in fp32; a shard is a batch by itself.

    ``digest`` is the reference's as the driver loaded it: a worker that loads another model under the same
    name fails.
    """

    def __init__(self, options: ScoreOptions, digest: str, threads: int, opt_out: str | None) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1)
        self.options = options
        self.digest = digest
        self.threads = threads
        self.opt_out = opt_out

    def load_model(self) -> LoadedModel:
        reference = load_reference(self.options.reference)
        if reference.digest != self.digest:
            raise ClipsieveError(f"{self.options.reference}: this worker loaded another model than the driver")
        torch.backends.cudnn.allow_tf32 = False
        reference.model.to("cuda" if torch.cuda.is_available() else "cpu")
        return reference

    def run_inference(
        self, batch: Sequence[ShardTask], model: LoadedModel, inference_args: dict[str, Any] | None = None
    ) -> Iterable[ShardScores]:
        return [self._score(task, model) for task in batch]

    def get_num_bytes(self, batch: Sequence[ShardTask]) -> int:
        return sum(len(task.name) for task in batch)

    def _score(self, task: ShardTask, model: LoadedModel) -> ShardScores:
        rows = read_rows(task.folder, task.name)
        is_listed = load_opt_out(self.opt_out).forbids_rows(rows, task.parquet)
        left_out = set(rows["key"].filter(pa.array(is_listed)).to_pylist())
        rows = rows.filter(pa.array(~is_listed))
        uids = dict(zip(rows["key"].to_pylist(), rows["uid"].to_pylist(), strict=True))
        samples = (sample for sample in iter_samples(task.tar) if sample.key not in left_out)
        embedded = embed(samples, model, task.tar, self.options.batch_size, self.threads)
        embeddings = None
        if self.options.embeddings:
            embeddings = {"img": embedded.image.astype(np.float16), "txt": embedded.text.astype(np.float16)}
        return ShardScores(task.name, score_table(task, embedded, uids, model.digest), embeddings)


def score_table(task: ShardTask, embedded: Embedded, uids: dict[str, str], reference: str) -> pa.Table:
    """The scores table of a shard, a row for each sample of its tar, in the tar's order.

    ``uids`` are the uids of the samples by key. Raises InputError when they are of other samples than the
    tar's, or a similarity is not a number.
    """
    if sorted(embedded.keys) != sorted(uids):
        here, listed = Counter(embedded.keys), Counter(uids.keys())
        odd = sorted((here - listed) + (listed - here))
        raise InputError(f"{task.tar}: {len(odd)} samples are not once here and in its Parquet, the first {odd[0]}")
    similarity = embedded.similarity
    if not np.isfinite(similarity).all():
        key = embedded.keys[int(np.argmin(np.isfinite(similarity)))]
        raise InputError(f"{task.tar}: sample {key}: the reference gives it no finite similarity")
    rows = len(embedded.keys)
    columns = {
        "uid": [uids[key] for key in embedded.keys],
        "shard": [task.name] * rows,
        "key": embedded.keys,
        "similarity": similarity,
        "reference": [reference] * rows,
        "caption_chars": [len(caption) for caption in embedded.captions],
        "caption_words": [len(caption.split()) for caption in embedded.captions],
        "language": [None] * rows,
    }
    return pa.table(columns, schema=tables.SCORES.schema)


def write_scores(scores: ShardScores, out: str) -> str:
    """Write a shard's scores, the Parquet last: where it is, the shard is done. Returns its path."""
    if scores.embeddings is not None:
        stream = io.BytesIO()
        np.savez(stream, **scores.embeddings)  # type: ignore[arg-type]
        files.write_bytes(files.join(out, f"{scores.name}.npz"), stream.getvalue())
    path = files.join(out, f"{scores.name}.parquet")
    tables.write_table(scores.table, tables.SCORES, path)
    return path


def run(
    shards: str, out: str, options: ScoreOptions, beam_args: Sequence[str] = (), opt_out: str | None = None
) -> Manifest:
    """Score the shards of the folder ``shards`` into the folder ``out``; what is scored stays as it is.

    When a later pass of download has added shards, only these are scored. Pairs that the file ``opt_out`` lists
    are left out, and counted. Raises InputError for an unknown reference, a shard that cannot be read, or a sample
    without a sound image; what other shards' workers finished is kept.
    """
    reference, listed = load_reference(options.reference), load_opt_out(opt_out)
    inputs = {"shards": manifest.input_digest(shards), "reference": reference.digest, **listed.inputs}
    grown = {"shards": manifest.earlier_digests(shards)}
    opened = manifest.begin(out, "score", options.model_dump(), inputs, grown)
    if opened.complete:
        return opened
    tasks = [ShardTask(shards, name) for name in list_shards(shards)]
    done = files.list_files(out, ".parquet")
    pending = [task for task in tasks if files.join(out, f"{task.name}.parquet") not in set(done)]
    workers = _worthwhile_workers(pending)
    handler = OpenClipModelHandler(options, reference.digest, engine.threads_per_worker(workers, beam_args), opt_out)

    def build(pipeline: beam.Pipeline) -> None:
        scored = (
            pipeline
            | "Shards" >> beam.Create(pending)
            | "Score" >> RunInference(handler)
            | "Write" >> beam.Map(write_scores, out)
        )
        finished = (scored, pipeline | "Scored before" >> beam.Create(done)) | beam.Flatten()
        finished | "Digest" >> beam.FlatMap(_parts_of_shard) | ListParts(out)

    with (
        manifest.withdrawn_if_empty(out),
        files.without_leftovers(out),
        progress("score (shards)", len(tasks), lambda: Reading(len(files.list_files(out, ".parquet")))),
    ):
        engine.run_job(build, workers, beam_args)
    parts = read_parts(out)
    counts = {"pairs": sum(part.rows for part in parts), "shards": len(tasks)}
    if opt_out:
        counts[OPTED_OUT] = _downloaded(tasks) - counts["pairs"]
    return manifest.finish(out, opened, counts, folder_digest(parts))


def _worthwhile_workers(pending: Sequence[ShardTask]) -> int:
    """How many processes the work is worth, judged by the rows of the first shard; at least one."""
    if not pending:
        return 1
    with tables.open_parquet(pending[0].parquet) as parquet:
        rows = parquet.metadata.num_rows * len(pending)
    return min(len(pending), -(-rows // PAIRS_PER_WORKER) or 1)


def _downloaded(tasks: Sequence[ShardTask]) -> int:
    """How many pairs the shards hold, by their stats."""
    paths = [files.join(task.folder, f"{task.name}_stats.json") for task in tasks]
    with ThreadPoolExecutor(_STATS_THREADS) as pool:
        return sum(json.loads(content)["successes"] for content in pool.map(files.read_bytes, paths))


def _parts_of_shard(parquet: str) -> Iterator[Part]:
    yield part_of(parquet)
    embeddings = parquet.removesuffix(".parquet") + ".npz"
    if files.exists(embeddings):
        yield part_of(embeddings)


if __name__ == "__main__":
    # By its own name: worker processes cannot find what a module called __main__ defines.
    from pipelines import score

    raise SystemExit(run_command(score.run, ("shards", "out"), ScoreOptions))
