"""Writing a table of pairs as a Parquet file that a stage works from, some megabytes at a time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq

from clipsieve.schemas import files

_GROUP_BYTES = 16 << 20


def write_copy(path: str, parts: Iterable[pa.Table]) -> bool:
    """Write ``parts``, which have one schema, as the file ``path``, and return whether there are any.

    Where there are none nothing is written. A row group ends after the part with which it reaches 16 MiB.
    """
    parts = iter(parts)
    first = next(parts, None)
    if first is None:
        return False
    with files.atomic_write(path) as stream, pq.ParquetWriter(stream, first.schema, compression="zstd") as writer:
        waiting, size = [], 0
        for rows in chain([first], parts):
            waiting.append(rows)
            size += rows.nbytes
            if size >= _GROUP_BYTES:
                writer.write_table(pa.concat_tables(waiting))
                waiting, size = [], 0
        if waiting:
            writer.write_table(pa.concat_tables(waiting))
    return True
