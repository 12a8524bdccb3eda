"""A pool of pairs, some of which drifted, with the table that its publisher left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.pipelines.filters.filter_pool import pair, write_pool

KINDS: dict[str, dict[str, Any]] = {
    "same": {},
    "reencoded": {"sha256": "aa" * 32},
    "resized": {"sha256": "bb" * 32, "original_width": 320, "original_height": 240},
    "swapped": {"sha256": "cc" * 32, "original_width": 480, "original_height": 480},
    "placeholder": {"sha256": "dd" * 32, "original_width": 100, "original_height": 100, "similarity": 0.01},
    "expired": {"similarity": 0.02},
    "unknown": {},
}
"""What came of a pair, by its verdict, next to what `pair` was published with."""
PAIRS = 140


def kind_of(number: int) -> str:
    return list(KINDS)[number % len(KINDS)] if number % 3 == 0 else "same"


def pool() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pairs as they came, and the published rows, in another order."""
    came, published = [], []
    for number in range(PAIRS):
        kind = kind_of(number)
        seen = pair(number, similarity=0.2 + 0.001 * number)
        if kind == "expired":
            seen = pair(number, similarity=0.2 + 0.001 * number, url=f"https://gone.example.com/{number}.jpg")
        own = dict(seen)
        own |= {"similarity": seen["similarity"] + 0.0001 * (number % 5 - 2)}
        own |= KINDS[kind]
        if kind != "same" and kind != "placeholder":
            own |= {"sha256": f"{number + 1:016x}" * 4}
        came.append(own)
        if kind != "unknown":
            published.append(seen)
    return came, published[::-1]


def write(folder: Path, files: int = 2, parts: int = 1, **renamed: str | None) -> dict[str, str]:
    """Write the pool as ``files`` shards and score files, and ``parts`` published tables; returns the folders.

    ``renamed`` gives published columns other names; None leaves one out.
    """
    came, rows = pool()
    scores, shards = write_pool(folder, came, files)
    published = folder / "metadata"
    published.mkdir()
    names: dict[str, str | None] = {
        name: name for name in ("uid", "url", "original_width", "original_height", "sha256", "similarity")
    }
    names |= {"caption": "text", **renamed}
    for number, part in enumerate(np.array_split(np.arange(len(rows)), parts)):
        columns = {new: [rows[row][old] for row in part] for old, new in names.items() if new}
        pq.write_table(pa.table(columns), published / f"{number}.parquet")
    return {"scores": scores, "shards": shards, "published": str(published), "out": str(folder / "drift")}
