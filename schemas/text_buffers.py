"""The bytes of an Arrow string column as a whole, without a Python string a row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def text_bytes(column: pa.Array) -> memoryview:
    """The UTF-8 bytes of a string column without nulls, one value after another."""
    column = column.cast(pa.large_string())
    _, offsets, text = column.buffers()
    if text is None or not len(column):
        return memoryview(b"")
    ends = np.frombuffer(offsets, np.int64)
    return memoryview(text)[ends[column.offset] : ends[column.offset + len(column)]]


def fixed_text(text: bytes, width: int) -> pa.Array:
    """A string column of values of ``width`` bytes each, which ``text`` holds one after another."""
    rows = len(text) // width
    offsets = np.arange(rows + 1, dtype=np.int64) * width
    column = pa.LargeStringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text))
    return column.cast(pa.string())
