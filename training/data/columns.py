"""Columns while they are written: npy files that grow at their ends."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
import xxhash


class ColumnWriter:
    """Writes an array of one dimension, of so many values as come."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._dtype, self._digest = dtype, xxhash.xxh3_128()
        self._length = 0
        self._write_header()

    def __enter__(self) -> ColumnWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.seek(0)
        self._write_header()  # numpy leaves room in it for any length
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __len__(self) -> int:
        return self._length

    @property
    def digest(self) -> str:
        """XXH3 of the values."""
        return self._digest.hexdigest()

    def append(self, values: np.ndarray) -> None:
        data = np.ascontiguousarray(values, self._dtype).data
        self._digest.update(data)
        self._file.write(data)
        self._length += len(values)

    def _write_header(self) -> None:
        descr = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self._length,)}
        np.lib.format.write_array_header_1_0(self._file, header)
