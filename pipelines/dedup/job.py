"""Find the pairs that repeat another, and say of each which one is kept instead.

    shards -> thumbnails, a shard at a time (Beam)                          OUT/_thumbnails, gone at the end
    score files, shards' hashes, embeddings, thumbnails -> rank order
            -> finders, one a method, which look closely at candidates' images (same.py)
            -> the best of those that are near                              (greedy.py)
            -> OUT/NNNNN.parquet: uid, duplicate_of, method, a file for each score file

The images of evaluation tasks stand before the best pair and are kept whatever they are near, so a pair that is near
one goes, by the same rule as all others; its ``duplicate_of`` is TASK:KEY.

Comparing runs on one machine: it holds some 250 bytes a pair, and reads embeddings and thumbnails (3 kB a pair) from
the local disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import apache_beam as beam
import numpy as np
import pyarrow as pa

from clipsieve.pipelines.dedup.finders import RankedPairs, find_by
from clipsieve.pipelines.dedup.greedy import Kept, keep_best
from clipsieve.pipelines.dedup.images import digest_of_tasks, hashes_path, read_task_images, write_thumbnails
from clipsieve.pipelines.dedup.pairs import concatenate, lacks_hashes, read_pairs, score_files
from clipsieve.pipelines.engine import runner
from clipsieve.pipelines.engine.parts import folder_digest, part_of, write_parts
from clipsieve.pipelines.score.references import load_reference
from clipsieve.schemas import files, manifest, tables
from clipsieve.schemas.counts import DedupCounts
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest, read_manifest
from clipsieve.schemas.models import LoadedModel
from clipsieve.schemas.options import DedupOptions, ScoreOptions
from clipsieve.schemas.progress import Reading, progress
from clipsieve.schemas.shards import naming_of

PAIRS_PER_WORKER = 5_000
"""Pairs whose images are worth the seconds in which a worker process starts."""


def run(
    shards: str,
    scores: str,
    out: str,
    options: DedupOptions,
    beam_args: Sequence[str] = (),
    tasks: str | None = None,
) -> Manifest:
    """Compare the pairs of the score files in ``scores``, whose images and hashes are in ``shards``; write ``out``.

    Of pairs that are near the best scored is kept, then the one of the smaller uid. Images of the evaluation tasks in
    the folder ``tasks`` are kept before all. Raises InputError where a method's hashes or embeddings are missing.
    """
    paths = score_files(scores)
    inputs = {"shards": manifest.input_digest(shards), "scores": manifest.input_digest(scores)}
    if tasks:
        inputs["tasks"] = digest_of_tasks(tasks)
    with only_writer(out):
        opened = manifest.begin(out, options, inputs)
        if opened.complete:
            return opened
        thumbnails = files.join(out, "_thumbnails")
        with (
            manifest.withdrawn_if_empty(out),
            files.without_leftovers(out),
            TemporaryDirectory(prefix="clipsieve-dedup-") as scratch,
        ):
            hashes_too = lacks_hashes(paths[0], shards, options.methods)
            if "thumbnail" in options.methods or hashes_too:
                _make_thumbnails(paths, shards, thumbnails, hashes_too, beam_args)
            ranked = _rank(paths, shards, scores, options, tasks, thumbnails if hashes_too else None)
            methods, finders = zip(*find_by(options, ranked, paths, thumbnails, Path(scratch)), strict=True)
            kept = keep_best(ranked.fixed + len(ranked.pairs), finders, ranked.fixed)
            counts = _write(ranked, kept, methods, paths, out)
        files.remove(thumbnails)
        parts = [part_of(files.join(out, files.name_of(path))) for path in paths]
        write_parts(parts, out)
        return manifest.finish(out, opened, counts, folder_digest(parts))


def _make_thumbnails(paths: list[str], shards: str, folder: str, hashes_too: bool, beam_args: Sequence[str]) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        files_of = pipeline | "Score files" >> beam.Create(paths)
        files_of | "Thumbnails" >> beam.Map(write_thumbnails, shards, folder, hashes_too)

    with progress("dedup (thumbnails)", len(paths), lambda: Reading(len(files.list_files(folder, ".npy")))):
        with tables.open_parquet(paths[0]) as first:
            rows = first.metadata.num_rows * len(paths)
        runner.run_job(build, min(len(paths), -(-rows // PAIRS_PER_WORKER) or 1), beam_args)


def _rank(
    paths: list[str], shards: str, scores: str, options: DedupOptions, tasks: str | None, hashed: str | None
) -> RankedPairs:
    """The pairs, and the images of the tasks; ``hashed`` is the folder of hashes that the shards lack."""
    is_placed = not {"perceptual", "thumbnail"}.isdisjoint(options.methods)
    pairs = concatenate(
        [read_pairs(path, shards, is_placed, hashes_path(path, hashed) if hashed else None) for path in paths]
    )
    reference = _reference(scores) if tasks and "semantic" in options.methods else None
    of_tasks = read_task_images(tasks, reference) if tasks else None
    return RankedPairs(of_tasks, pairs, pairs.rank_order(), naming_of(shards))


def _reference(scores: str) -> LoadedModel:
    """The model that made the scores' embeddings."""
    made = read_manifest(scores)
    if made is None:
        raise InputError(
            f"{scores}: no manifest names the model of its embeddings, which task images need; leave semantic out of "
            "`methods`, or leave `tasks` out"
        )
    return load_reference(made.options(ScoreOptions).references[0])


def _write(ranked: RankedPairs, kept: Kept, methods: Sequence[str], paths: list[str], out: str) -> DedupCounts:
    """Write a file for each score file, in its order; returns the counts."""
    goes = np.flatnonzero(kept.duplicate_of >= 0)
    duplicate_of = np.full(len(ranked.pairs), None, object)
    method = np.full(len(ranked.pairs), None, object)
    pairs = ranked.order[goes - ranked.fixed]
    duplicate_of[pairs] = ranked.names(kept.duplicate_of[goes])
    method[pairs] = np.array(methods, object)[kept.finder[goes]]
    start = 0
    for path in paths:
        uids = tables.read_table(path, tables.SCORES, ["uid"])["uid"]
        part = slice(start, start + len(uids))
        columns = {
            "uid": uids,
            "duplicate_of": pa.array(duplicate_of[part], pa.string()),
            "method": pa.array(method[part], pa.string()),
        }
        tables.write_table(pa.table(columns), tables.DEDUP, files.join(out, files.name_of(path)))
        start += len(uids)
    by = np.array(methods, object)[kept.finder[goes]]
    return DedupCounts(
        pairs=len(ranked.pairs),
        kept=len(ranked.pairs) - len(goes),
        found={name: int((by == name).sum()) for name in dict.fromkeys(methods)},
        contaminated=int((kept.duplicate_of[goes] < ranked.fixed).sum()) if ranked.tasks else None,
    )
