"""An object store that stands for one far away: a folder under another protocol, which counts what is read of it."""

from __future__ import annotations

import io
import os
from collections import Counter
from typing import Any

import fsspec
from fsspec.spec import AbstractFileSystem

READ: Counter[str] = Counter()
"""Bytes, by path."""


class CountedFileSystem(AbstractFileSystem):
    """``counted:///a/b`` is the local file ``/a/b``, to be read."""

    protocol = "counted"
    root_marker = "/"

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        entries = [self.info(entry.path) for entry in os.scandir(self._strip_protocol(path))]
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        kind = "directory" if os.path.isdir(path) else "file"  # noqa: PTH112
        return {"name": path, "size": os.stat(path).st_size, "type": kind}  # noqa: PTH116

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.IOBase:
        return _CountedFile(path, mode)


class _CountedFile(io.FileIO):
    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size)
        READ[str(self.name)] += len(data)
        return data


fsspec.register_implementation("counted", CountedFileSystem, clobber=True)
