"""A pool of pairs as score files and the Parquet of their shards, made by hand from rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.schemas.uid import uid_of


def pair(number: int, **changes: Any) -> dict[str, Any]:
    """A pair that every rule of the sets keeps."""
    caption = str(changes.pop("caption", f"A photograph of the old town and its harbour, view number {number}"))
    url = f"https://example.org/{number}.jpg"
    return {
        "uid": uid_of(url, caption),
        "url": url,
        "caption": caption,
        "key": f"{number:09d}",
        "status": "success",
        "original_width": 640,
        "original_height": 480,
        "byte_size": 50_000,
        "sha256": hashlib.sha256(url.encode()).hexdigest(),
        "similarity": 0.3,
    } | changes


def write_pool(folder: Path, rows: Sequence[dict[str, Any]], files: int = 2) -> tuple[str, str]:
    """Write rows as ``files`` shards and score files; returns the folders of scores and shards.

    The shards hold the rows the other way round, and one pair more that is not scored.
    """
    scores, shards = folder / "scores", folder / "shards"
    for each in (scores, shards):
        each.mkdir(parents=True)
    for number, part in enumerate(np.array_split(np.arange(len(rows)), files)):
        own = [rows[place] for place in part]
        scored = [{"uid": row["uid"], "key": row["key"], "similarity": row["similarity"]} for row in own]
        schema = pa.schema([("uid", pa.string()), ("key", pa.string()), ("similarity", pa.float32())])
        pq.write_table(pa.Table.from_pylist(scored, schema), scores / f"{number:05d}.parquet")
        others = [pair(1_000_000 + number), *reversed(own)]
        stored = [{name: value for name, value in row.items() if name != "similarity"} for row in others]
        pq.write_table(pa.Table.from_pylist(stored), shards / f"{number:05d}.parquet")
    return str(scores), str(shards)


def verdicts(folder: Path) -> dict[str, dict[str, Any]]:
    """All rows that a filter wrote, by uid."""
    paths = sorted(folder.glob("*.parquet"))
    return {row["uid"]: row for path in paths for row in pq.read_table(path).to_pylist()}
