"""Dead letters: `_manifest/dead_letters.parquet` lists every pair that has failed in the end so far, and why.

A row that a later pass tried again is listed as that pass left it, so the table and the downloaded pairs together
are the input's distinct rows, each once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.schemas import files, tables
from clipsieve.schemas.outcomes import ErrorClass, Status, is_retryable
from clipsieve.schemas.tables import DEAD_LETTERS, SHARDS
from clipsieve.schemas.threads import map_ahead

STAGES = {Status.FAILED_TO_DOWNLOAD: "fetch", Status.FAILED_TO_RESIZE: "image"}

_COLUMNS = ("uid", "url", "error_class", "http_status", "consent")


def dead_letters_path(out: str) -> str:
    return files.join(out, "_manifest", "dead_letters.parquet")


def write_dead_letters(out: str, passes: Sequence[Sequence[str]]) -> Counter[str]:
    """Write the dead letters of the folder ``out``, whose shards' names are given pass by pass.

    They stand in the order of the shards; the failures of a few shards are held at a time. Returns how many there are
    of each error class.
    """
    classes: Counter[str] = Counter()
    with tables.table_writer(DEAD_LETTERS, dead_letters_path(out)) as write:
        for letters in iter_dead_letters(out, passes):
            write(letters)
            classes.update(letters["error_class"].to_pylist())
    return classes


def iter_dead_letters(out: str, passes: Sequence[Sequence[str]]) -> Iterator[pa.Table]:
    """The dead letters of each shard in turn: its failures, but for those that a later pass tried again."""
    for number, names in enumerate(passes):
        is_last = number == len(passes) - 1
        for failures in iter_failures(out, names):
            yield failures if is_last else failures.filter(pc.invert(failures["retryable"]))


def iter_failures(out: str, names: Sequence[str]) -> Iterator[pa.Table]:
    """Every failed row of each of the shards ``names`` in turn, as dead letters."""
    yield from map_ahead(_failures, (files.join(out, f"{name}.parquet") for name in names))


def _failures(path: str) -> pa.Table:
    rows = tables.read_table(path, SHARDS, _COLUMNS).select(_COLUMNS)
    rows = rows.filter(pc.is_valid(rows["error_class"]))
    classes = [ErrorClass(name) for name in rows["error_class"].to_pylist()]
    stages = [STAGES[error_class.status] for error_class in classes]
    retryable = [is_retryable(*end) for end in zip(classes, rows["http_status"].to_pylist(), strict=True)]
    rows = rows.append_column("stage", pa.array(stages, pa.string()))
    return tables.conform(rows.append_column("retryable", pa.array(retryable, pa.bool_())), DEAD_LETTERS, path)
