"""Scores files as select reads them: any Parquet with uid and similarity, batch by batch, checked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.selection import Scored
from schemas import tables
from schemas.errors import InputError
from schemas.uid import UID_PATTERN

BATCH_ROWS = 65_536
_COLUMNS = ("uid", "similarity")


def read_scored(path: str) -> Iterator[Scored]:
    """Stream a scores file; a similarity that is not finite, or no uid, is an InputError with its row."""
    row = 0
    for batch in tables.iter_batches(path, tables.SCORES, _COLUMNS, BATCH_ROWS):
        data = tables.conform(pa.Table.from_batches([batch]), tables.SCORES, path, _COLUMNS).combine_chunks()
        similarity = data["similarity"].to_numpy()
        _refuse(~np.isfinite(similarity), path, row, "similarities are not finite numbers")
        valid = pc.fill_null(pc.match_substring_regex(data["uid"], f"^{UID_PATTERN.pattern}$"), False)
        _refuse(~valid.to_numpy(), path, row, "uids are not 32 hex digits")
        yield Scored(data["uid"].combine_chunks(), similarity)
        row += len(data)


def _refuse(wrong: np.ndarray, path: str, first_row: int, what: str) -> None:
    if wrong.any():
        row = first_row + int(np.argmax(wrong)) + 1
        raise InputError(f"{path}: {int(wrong.sum())} {what}, the first in row {row}; remove or mend these rows")
