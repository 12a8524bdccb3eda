"""What each sample adds to a metric, read from an evaluation's per-sample tables."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.tables import Table, read_table
from clipsieve.schemas.task_tables import RETRIEVAL_IMAGES, RETRIEVAL_TEXTS, ZERO_SHOT_SAMPLES


@dataclass(frozen=True)
class Hits:
    """A row for each thing that was tried; the weighted mean of ``values`` is the metric."""

    ids: np.ndarray
    """str[N], ascending: the sample, which several rows have where several captions or seeds were tried on it."""
    values: np.ndarray
    """float64[N]: 1 for a hit."""
    weights: np.ndarray
    """float64[N]."""


@dataclass(frozen=True)
class _Source:
    """The file of a metric: its suffix, its table, and the rank below which a row is a hit."""

    suffix: str
    table: Table
    within: int
    per_class: bool = False


_SOURCES = {
    "acc1": _Source("", ZERO_SHOT_SAMPLES, 1),
    "acc5": _Source("", ZERO_SHOT_SAMPLES, 5),
    "mean_per_class_recall": _Source("", ZERO_SHOT_SAMPLES, 1, per_class=True),
    **{f"text_retrieval_recall@{k}": _Source(".images", RETRIEVAL_IMAGES, k) for k in (1, 5, 10)},
    **{f"image_retrieval_recall@{k}": _Source(".texts", RETRIEVAL_TEXTS, k) for k in (1, 5, 10)},
}


def read_hits(samples_folder: str, key: str, metric: str, value: float) -> Hits | None:
    """The hits of ``metric`` of the result ``key``; None for a metric without any, or where no file was left.

    InputError where the file does not give the ``value`` that the result has.
    """
    source = _SOURCES.get(metric)
    path = files.join(samples_folder, f"{key}{source.suffix}.parquet") if source else ""
    if source is None or not files.exists(path):
        return None
    columns = ["id", "rank", "label"] if source.per_class else ["id", "rank"]
    rows = read_table(path, source.table, columns)
    hits = _hits(rows, source)
    mean = float(np.average(hits.values, weights=hits.weights)) if len(rows) else math.nan
    if not math.isclose(mean, value, abs_tol=1e-6):
        raise InputError(
            f"{path}: its rows give {mean:g} for {metric}, results.jsonl says {value:g}; remove that folder and "
            "evaluate that model again"
        )
    return hits


def _hits(rows: pa.Table, source: _Source) -> Hits:
    ids = np.array(rows["id"].to_pylist(), np.str_)
    order = np.argsort(ids, kind="stable")
    values = (rows["rank"].to_numpy() < source.within).astype(np.float64)
    weights = np.ones(len(rows))
    if source.per_class:
        labels = rows["label"].to_numpy()
        weights = 1.0 / np.bincount(labels)[labels]
    return Hits(ids[order], values[order], weights[order])
