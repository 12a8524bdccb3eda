"""What an evaluation leaves on disk: ``results.jsonl``, a row a task, and a table of each task's samples."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from clipsieve.schemas import files, strict_json
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.results import RESULTS_NAME, SAMPLES_NAME
from clipsieve.schemas.tables import Table, write_table


@dataclass(frozen=True)
class TaskResult:
    """Results of one task."""

    metrics: Mapping[str, float | None]
    """Fractions; null where a metric does not apply."""
    intervals: Mapping[str, tuple[float, float]]
    """95% intervals of those metrics that have one."""
    samples: int
    tables: Mapping[str, tuple[Table, pa.Table]]
    """Per-sample tables by the suffix that their file's name has after the task's key."""
    train_digest: str | None = None
    """Of the training split, where the protocol learns from it."""


def results_path(out: str) -> str:
    return files.join(out, RESULTS_NAME)


def read_rows(out: str) -> list[dict[str, Any]]:
    """Rows of the tasks that are done; none where the evaluation has not begun."""
    path = results_path(out)
    if not files.exists(path):
        return []
    try:
        return [json.loads(line) for line in files.read_bytes(path).splitlines()]
    except ValueError as error:
        raise InputError(f"{path}: not one JSON object a line ({error})") from error


def write_rows(out: str, rows: Iterable[dict[str, Any]]) -> None:
    files.write_bytes(results_path(out), json_lines(rows))


def json_lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(strict_json.dumps(row) + "\n" for row in rows).encode()


def write_samples(out: str, key: str, outcome: TaskResult) -> None:
    for suffix, (table, data) in outcome.tables.items():
        write_table(data, table, files.join(out, SAMPLES_NAME, f"{key}{suffix}.parquet"))
