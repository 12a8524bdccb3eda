"""The work of one shard: read its rows' files, make images of them, write the shard.

rows --(batches)--> paths --(threads: read, decode, encode)--> images --(input order)--> tar
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from clipsieve.pipelines.download.input import Pair, PairBatch, iter_batches
from clipsieve.pipelines.download.outcome import Body, end_columns, opted_out_columns, outcome_of_body
from clipsieve.pipelines.download.report import ShardTally
from clipsieve.pipelines.pack.paths import PathError, read_file
from clipsieve.pipelines.pairs.plan import Naming, ShardPlan
from clipsieve.pipelines.pairs.table import Columns
from clipsieve.pipelines.shards.writer import RowOutcome, open_shard
from clipsieve.schemas.opt_out import load_opt_out
from clipsieve.schemas.options import PackOptions
from clipsieve.schemas.outcomes import ErrorClass
from clipsieve.schemas.threads import map_ahead


@dataclass(frozen=True)
class PackJob:
    """What is the same for every shard."""

    out: str
    columns: Columns
    options: PackOptions
    naming: Naming
    root: str
    """Real path of the folder below which files may be read."""
    threads: int
    """That read and decode, for each shard."""
    opt_out: str | None = None
    """Path of the opt-out list."""


def pack_shard(plan: ShardPlan, duplicates: np.ndarray, job: PackJob, tally: ShardTally) -> None:
    """Pack one shard; ``duplicates`` int64[D] are the rows of it to leave out.

    Raises JobStoppedError when the driver has ended the job; nothing of the shard is left then.
    """
    batches = iter_batches(plan, duplicates, job.columns, job.naming, load_opt_out(job.opt_out))
    first = next(batches)
    begun: deque[PairBatch] = deque()
    rows = _rows(chain([first], batches), begun)
    name, image_format = job.naming.shard(plan.number), job.options.encode_format
    with (
        open_shard(job.out, name, first.passed, len(duplicates), image_format) as shard,
        closing(map_ahead(partial(_outcome, job), rows, job.threads)) as ended,
    ):
        outcomes: list[RowOutcome] = []
        for outcome in ended:
            tally.add(outcome.columns["error_class"], None)
            outcomes.append(outcome)
            if len(outcomes) == len(begun[0].pairs):
                shard.write(begun.popleft().rows, outcomes)
                outcomes = []


def _rows(batches: Iterator[PairBatch], begun: deque[PairBatch]) -> Iterator[tuple[Pair, str]]:
    """Each pair with its caption; a batch is put into ``begun`` before its pairs come. Empty ones are left out."""
    for batch in batches:
        if batch.pairs:
            begun.append(batch)
        yield from zip(batch.pairs, batch.rows["caption"].to_pylist(), strict=True)


def _outcome(job: PackJob, row: tuple[Pair, str]) -> RowOutcome:
    pair, caption = row
    if pair.is_opted_out:
        return RowOutcome(opted_out_columns())
    if not caption.strip():
        return RowOutcome(end_columns(ErrorClass.NO_CAPTION, "no caption, or an empty one"))
    try:
        data = read_file(job.root, pair.url, job.options.max_bytes)
    except PathError as error:
        return RowOutcome(end_columns(error.error_class, str(error)))
    return outcome_of_body(Body(data, data), pair, job.options, end_columns)
