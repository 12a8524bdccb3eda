"""Byte ranges of files: of local files through handles that stay open, of an object store several at a time."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Protocol
from weakref import finalize

from fsspec.implementations.local import LocalFileSystem

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError

_OPEN_FILES = 256

Range = tuple[str, int, int]
"""A file's path, the first byte and how many."""


class ByteRanges(Protocol):
    """What reads byte ranges of files."""

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of each range; a file that is missing is an InputError, one that is too short gives fewer."""


class RangeReader:
    """Reads byte ranges; those of one call lie in one filesystem. Safe to call from several threads."""

    def __init__(self) -> None:
        self._handles: OrderedDict[str, _Handle] = OrderedDict()
        self._lock = Lock()

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of each range; a file that is missing is an InputError, one that is too short gives fewer."""
        if not ranges:
            return []
        if is_local(ranges[0][0]):
            return [self._open(path).read(start, size) for path, start, size in ranges]
        fs, _ = files.filesystem(ranges[0][0])
        paths, starts, sizes = zip(*ranges, strict=True)
        ends = [start + size for start, size in zip(starts, sizes, strict=True)]
        inner = [files.filesystem(path)[1] for path in paths]
        try:
            return [bytes(part) for part in fs.cat_ranges(inner, list(starts), ends, on_error="raise")]
        except FileNotFoundError as error:
            raise InputError(f"{error.args[-1]}: no such file") from error

    def read_into(self, ranges: Sequence[Range], buffers: Sequence[memoryview]) -> list[int]:
        """`read` into a buffer of each range's size, without another copy of a local file's bytes.

        Returns how many bytes came of each range.
        """
        if not ranges:
            return []
        if is_local(ranges[0][0]):
            return [
                self._open(path).read_into(start, buffer)
                for (path, start, _), buffer in zip(ranges, buffers, strict=True)
            ]
        parts = self.read(ranges)
        for buffer, data in zip(buffers, parts, strict=True):
            buffer[: len(data)] = data
        return [len(data) for data in parts]

    def prefetch(self, ranges: Sequence[Range]) -> None:
        """Have the system begin to read ranges of local files into its cache; of other files nothing is done."""
        if hasattr(os, "posix_fadvise") and ranges and is_local(ranges[0][0]):
            for path, start, size in ranges:
                self._open(path).prefetch(start, size)

    def _open(self, path: str) -> _Handle:
        with self._lock:
            handle = self._handles.get(path)
            if handle is not None:
                self._handles.move_to_end(path)
                return handle
            handle = self._handles[path] = _Handle(path)
            if len(self._handles) > _OPEN_FILES:
                self._handles.popitem(last=False)  # closed when the last thread that reads it lets go
            return handle


class _Handle:
    """A file open for reading for as long as somebody holds this: a call of its methods does."""

    def __init__(self, path: str) -> None:
        try:
            self._descriptor = os.open(Path(files.filesystem(path)[1]), os.O_RDONLY)
        except OSError as error:
            raise InputError(f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else error}") from error
        finalize(self, os.close, self._descriptor)

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, start)

    def read_into(self, start: int, buffer: memoryview) -> int:
        return os.preadv(self._descriptor, [buffer], start)

    def prefetch(self, start: int, size: int) -> None:
        os.posix_fadvise(self._descriptor, start, size, os.POSIX_FADV_WILLNEED)


@lru_cache(_OPEN_FILES)  # to parse a path takes longer than to read a sample
def is_local(path: str) -> bool:
    """Whether a file lies in a filesystem of this machine."""
    return isinstance(files.filesystem(path)[0], LocalFileSystem)
