"""A file of bytes that can be read only so often: parsers in Python take time by the read, whatever a file claims."""

from __future__ import annotations

import io


class MeteredReader(io.BytesIO):
    """Bytes that may be read ``reads`` times, ``size`` bytes in all; then reading raises ValueError."""

    def __init__(self, data: bytes, reads: int, size: int) -> None:
        super().__init__(data)
        self._reads = reads
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._reads -= 1
        self._size -= len(data)
        if self._reads < 0 or self._size < 0:
            raise ValueError("more parts than an honest file has")
        return data
