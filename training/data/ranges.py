"""Byte ranges of tar files: of local files by handles that stay open, of an object store several at a time."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from weakref import finalize

from fsspec.implementations.local import LocalFileSystem

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError

_OPEN_FILES = 256

Range = tuple[str, int, int]
"""A file's path, the first byte and how many."""


class RangeReader:
    """Reads byte ranges. Safe to call from several threads."""

    def __init__(self) -> None:
        self._handles: OrderedDict[str, _Handle] = OrderedDict()
        self._lock = Lock()

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of each range; a file that is missing is an InputError, one that is too short gives fewer."""
        if not ranges:
            return []
        fs, _ = files.filesystem(ranges[0][0])
        if isinstance(fs, LocalFileSystem):
            return [self._read_local(*wanted) for wanted in ranges]
        paths, starts, sizes = zip(*ranges, strict=True)
        ends = [start + size for start, size in zip(starts, sizes, strict=True)]
        inner = [files.filesystem(path)[1] for path in paths]
        try:
            return [bytes(part) for part in fs.cat_ranges(inner, list(starts), ends, on_error="raise")]
        except FileNotFoundError as error:
            raise InputError(f"{error.args[-1]}: no such file") from error

    def _read_local(self, path: str, start: int, size: int) -> bytes:
        handle = self._open(path)
        return os.pread(handle.descriptor, size, start)

    def _open(self, path: str) -> _Handle:
        with self._lock:
            handle = self._handles.get(path)
            if handle is None:
                handle = self._handles[path] = _Handle(path)
            self._handles.move_to_end(path)
            if len(self._handles) > _OPEN_FILES:
                self._handles.popitem(last=False)  # closed when the last thread that reads it lets go
            return handle


class _Handle:
    """A file open for reading for as long as somebody holds this."""

    def __init__(self, path: str) -> None:
        try:
            self.descriptor = os.open(Path(files.filesystem(path)[1]), os.O_RDONLY)
        except OSError as error:
            raise InputError(f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else error}") from error
        finalize(self, os.close, self.descriptor)
