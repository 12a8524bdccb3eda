"""Score every pair of a folder of shards: how well its image and caption match under reference CLIPs.

    shards -> RunInference(OpenClipModelHandler) -> write OUT/NNNNN.parquet

An element is a shard's name; its images are read, decoded and embedded within one step and never cross a
shuffle. Of embeddings in clip-retrieval's layout an element is a part, and no model is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from clipsieve.pipelines.engine import runner
from clipsieve.pipelines.engine.parts import ListParts, Part, folder_digest, part_of, read_parts
from clipsieve.pipelines.score.heads import Head, load_heads
from clipsieve.pipelines.score.references import embedding_width, load_reference
from clipsieve.pipelines.score.shard import OpenClipModelHandler, ShardTask
from clipsieve.pipelines.score.stored import FOLDERS, StoredPart, list_parts, score_stored, stored_width
from clipsieve.pipelines.score.table import numbered, write_scores
from clipsieve.schemas import files, manifest, tables
from clipsieve.schemas.counts import ScoreCounts
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.options import STORED, ScoreOptions
from clipsieve.schemas.progress import Reading, progress
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.threads import map_ahead

PAIRS_PER_WORKER = 5_000
"""Pairs whose scoring is worth the seconds in which a worker process starts and loads the reference."""


@dataclass(frozen=True)
class ScorePlan:
    """What is to be scored, and with what."""

    tasks: Sequence[ShardTask | StoredPart]
    inputs: dict[str, str]
    """Digests of what is scored and of each reference, as the manifest has them."""
    digests: tuple[str, ...]
    """The references', in order; none of stored embeddings."""
    heads: tuple[Head, ...]


def run(
    shards: str, out: str, options: ScoreOptions, beam_args: Sequence[str] = (), opt_out: str | None = None
) -> Manifest:
    """Score the shards of the folder ``shards`` into the folder ``out``; what is scored stays as it is.

    When a later pass of download has added shards, only these are scored. Pairs that the file ``opt_out`` lists
    are left out, and counted. With the reference ``stored`` the folder holds embeddings in clip-retrieval's layout.
    Raises InputError for an unknown reference, a head that does not fit, a shard that cannot be read, or a sample
    without a sound image; what other shards' workers finished is kept.
    """
    plan = _plan(shards, options)
    inputs = {
        **plan.inputs,
        **{f"head_{head.name}": head.digest for head in plan.heads},
        **load_opt_out(opt_out).inputs,
    }
    grown = {"shards": manifest.earlier_digests(shards)}
    with only_writer(out):
        opened = manifest.begin(out, options, inputs, grown)
        return opened if opened.complete else _score(plan, out, options, beam_args, opt_out, opened)


def _score(
    plan: ScorePlan, out: str, options: ScoreOptions, beam_args: Sequence[str], opt_out: str | None, opened: Manifest
) -> Manifest:
    """Score what is not scored yet, and close the folder."""
    done = files.list_files(out, ".parquet")
    pending = [task for task in plan.tasks if files.join(out, f"{task.name}.parquet") not in set(done)]
    workers = min(len(pending), -(-_pairs_in(pending[0]) * len(pending) // PAIRS_PER_WORKER) or 1) if pending else 1
    scoring = _scoring(plan, options, runner.threads_per_worker(workers, beam_args), opt_out)

    def build(pipeline: beam.Pipeline) -> None:
        scored = (
            pipeline | "Shards" >> beam.Create(pending) | "Score" >> scoring | "Write" >> beam.Map(write_scores, out)
        )
        finished = (scored, pipeline | "Scored before" >> beam.Create(done)) | beam.Flatten()
        finished | "Digest" >> beam.FlatMap(_parts_of_shard) | ListParts(out)

    with (
        manifest.withdrawn_if_empty(out),
        files.without_leftovers(out),
        progress("score (shards)", len(plan.tasks), lambda: Reading(len(files.list_files(out, ".parquet")))),
    ):
        runner.run_job(build, workers, beam_args)
    parts = read_parts(out)
    pairs, opted_out = sum(part.rows for part in parts), None
    if opt_out:
        opted_out = sum(map_ahead(_pairs_in, plan.tasks)) - pairs
    counts = ScoreCounts(pairs=pairs, shards=len(plan.tasks), opted_out=opted_out)
    return manifest.finish(out, opened, counts, folder_digest(parts))


def _plan(shards: str, options: ScoreOptions) -> ScorePlan:
    if options.references == (STORED,):
        parts = list_parts(shards)
        inputs = {name: manifest.input_digest(files.join(shards, name)) for name in FOLDERS}
        return ScorePlan(parts, inputs, (), load_heads(options.heads, stored_width(parts[0])))
    references = [load_reference(spec) for spec in options.references]
    digests = tuple(reference.digest for reference in references)
    inputs = {"shards": manifest.input_digest(shards)}
    inputs |= {numbered("reference", number): digest for number, digest in enumerate(digests, 1)}
    heads = load_heads(options.heads, embedding_width(references[0]))
    return ScorePlan([ShardTask(shards, name) for name in list_shards(shards)], inputs, digests, heads)


def _scoring(plan: ScorePlan, options: ScoreOptions, threads: int, opt_out: str | None) -> beam.PTransform:
    """Tasks -> ShardScores."""
    if plan.digests:
        return RunInference(OpenClipModelHandler(options, plan.digests, plan.heads, threads, opt_out))
    return beam.Map(score_stored, options, plan.heads, opt_out)


def _pairs_in(task: ShardTask | StoredPart) -> int:
    """How many pairs a task has: by a shard's stats, or by a part's metadata."""
    if isinstance(task, ShardTask):
        return int(json.loads(files.read_bytes(task.stats))["successes"])
    with tables.open_parquet(task.parquet) as parquet:
        return int(parquet.metadata.num_rows)


def _parts_of_shard(parquet: str) -> Iterator[Part]:
    yield part_of(parquet)
    embeddings = parquet.removesuffix(".parquet") + ".npz"
    if files.exists(embeddings):
        yield part_of(embeddings)
