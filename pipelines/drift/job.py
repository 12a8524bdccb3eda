"""Compare each downloaded image with what the pool's publisher said of it.

    shards' tables, score files -> pairs                                   (pairs.py)
    published table -> what was stated of each, joined by uid              (published.py)
            -> verdicts                                                    (judge.py)
            -> OUT/NNNNN.parquet: uid, drift, why, …, a file for each score file or shard

No image is read: sizes, hashes, similarities and embeddings tell. It runs on one machine and holds some 200 bytes a
pair; of embeddings, which are on the local disk, a published file's at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from clipsieve.pipelines.dedup.stacked import stack
from clipsieve.pipelines.drift.judge import judge
from clipsieve.pipelines.drift.pairs import DownloadedPairs, read_pairs
from clipsieve.pipelines.drift.published import PublishedColumns, Stated, find_columns, join, own_embeddings
from clipsieve.pipelines.drift.reasons import Reasons
from clipsieve.pipelines.drift.verdicts import count_verdicts
from clipsieve.pipelines.engine.parts import folder_digest, part_of, write_parts
from clipsieve.pipelines.pairs.table import parquet_files
from clipsieve.schemas import files, manifest, tables
from clipsieve.schemas.lock import only_writer
from clipsieve.schemas.manifest import Manifest
from clipsieve.schemas.options import DriftOptions


def run(shards: str, published: str, out: str, options: DriftOptions, scores: str | None = None) -> Manifest:
    """Compare the pairs in ``shards`` with the table ``published``, a Parquet file or a folder; write ``out``.

    The pairs are those of the score files in ``scores``, made with the publisher's reference, or, without, all that
    have an image. Raises InputError where a column is missing or is not what it is for, and where no pair is in the
    table.
    """
    paths = parquet_files(published)
    with tables.open_parquet(paths[0]) as first:
        columns = find_columns(first.schema_arrow.names, paths[0], options, scores is not None)
    folders = {"shards": shards, "published": published, "scores": scores}
    inputs = {name: manifest.input_digest(path) for name, path in folders.items() if path}
    with only_writer(out):
        opened = manifest.begin(out, options, inputs)
        if opened.complete:
            return opened
        with manifest.withdrawn_if_empty(out), files.without_leftovers(out):
            counted, pairs = read_pairs(shards, scores, columns.by_url, list(columns.similarities))
            stated = _join(paths, columns, pairs, scores, [name for name, _ in counted])
            _write(pairs, stated, options, counted, out)
        written = [files.join(out, name) for name, _ in counted]
        parts = [part_of(path) for path in written]
        write_parts(parts, out)
        return manifest.finish(out, opened, count_verdicts(written), folder_digest(parts))


def _join(
    paths: Sequence[str], columns: PublishedColumns, pairs: DownloadedPairs, scores: str | None, names: Sequence[str]
) -> Stated:
    with TemporaryDirectory(prefix="clipsieve-drift-") as scratch:
        own = None
        if scores and columns.embedding:
            stacked = stack(own_embeddings(scores, names), Path(scratch) / "embeddings")
            own = stacked if len(stacked) == len(pairs) else None
        return join(paths, columns, pairs, own)


def _write(
    pairs: DownloadedPairs, stated: Stated, options: DriftOptions, counted: Sequence[tuple[str, int]], out: str
) -> None:
    """Write a file of each name, of as many pairs, in their order."""
    judged = judge(pairs, stated, options)
    reasons = Reasons(pairs, stated, judged)
    change = judged.evidence.change[:, :1] if judged.evidence.change.shape[1] else np.full((len(pairs), 1), np.nan)
    start = 0
    for name, rows in counted:
        part, start = slice(start, start + rows), start + rows
        hosts = pairs.hosts.slice(part.start, rows).cast(pa.string())
        table = {
            "uid": pairs.uids.slice(part.start, rows),
            "drift": pa.array(judged.verdicts[part], pa.string()),
            "drift_reason": pa.array(reasons.of(range(part.start, part.stop), hosts.to_pylist()), pa.string()),
            "host": hosts,
            "copies": pa.array(judged.copies[part], pa.int32()),
            "similarity_change": pa.array(change[part, 0], pa.float32(), from_pandas=True),
            "image_cosine": pa.array(stated.cosine[part], pa.float32(), from_pandas=True),
        }
        tables.write_table(pa.table(table), tables.DRIFT, files.join(out, name))
