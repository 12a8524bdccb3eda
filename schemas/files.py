"""Files through fsspec: a path may be local, ``gs://`` or ``s3://``; a write is whole or absent (law 2)."""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import posixpath
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

import fsspec
import xxhash
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from clipsieve.schemas.errors import ClipsieveError, InputError

_SYNC_FILE_RANGE = getattr(ctypes.CDLL(None), "sync_file_range", None)
_SYNC_FILE_RANGE_WRITE = 2
_BUFFER_BYTES = 1 << 20
_WRITE_BEHIND_BYTES = 16 << 20
"""Of a file being written, handed to the disk at a time: the flush at its end then has little left to wait for."""


def filesystem(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of ``path`` and the path as that filesystem names it."""
    fs, inner = url_to_fs(str(path))
    return fs, inner


def join(folder: str, *names: str) -> str:
    return posixpath.join(str(folder), *names)


def absolute(path: str) -> str:
    """``path``, of a local file from the root on, so that it holds wherever a command runs."""
    fs, inner = filesystem(path)
    return inner if isinstance(fs, LocalFileSystem) else path


def name_of(path: str) -> str:
    return posixpath.basename(str(path).rstrip("/"))


def exists(path: str) -> bool:
    fs, inner = filesystem(path)
    return bool(fs.exists(inner))


def list_files(folder: str, suffix: str) -> list[str]:
    """Sorted paths of the files directly in ``folder`` whose name ends in ``suffix``; temporary ones left out."""
    fs, inner = filesystem(folder)
    if not fs.isdir(inner):
        return []
    names = (name_of(entry) for entry in fs.ls(inner, detail=False))
    return [join(folder, name) for name in sorted(names) if name.endswith(suffix) and name[:1] not in "._"]


def list_folders(folder: str) -> list[str]:
    """Sorted paths of the folders directly in ``folder``; hidden and temporary ones left out."""
    fs, inner = filesystem(folder)
    if not fs.isdir(inner):
        return []
    names = (name_of(entry["name"]) for entry in fs.ls(inner, detail=True) if entry["type"] == "directory")
    return [join(folder, name) for name in sorted(names) if name[:1] not in "._"]


def read_bytes(path: str) -> bytes:
    fs, inner = filesystem(path)
    if not fs.isfile(inner):
        raise InputError(f"{path}: no such file")
    return bytes(fs.cat_file(inner))


@contextmanager
def open_read(path: str) -> Iterator[IO[bytes]]:
    """Open for reading; a file that is missing or may not be read is an InputError."""
    fs, inner = filesystem(path)
    if not fs.isfile(inner):
        raise InputError(f"{path}: no such file")
    try:
        opened = fs.open(inner, "rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    with opened as stream:
        yield stream


@contextmanager
def atomic_write(path: str) -> Iterator[IO[bytes]]:
    """Write ``path`` under a temporary name, flush it to the disk and rename it; on an error nothing is left.

    Object stores show a file only when its upload is complete, so there the file is written under its own name.
    Raises ClipsieveError, naming ``path``, where the disk is full or the folder may not be written.
    """
    fs, inner = filesystem(path)
    if not isinstance(fs, LocalFileSystem):
        with _upload(fs, inner) as stream:
            yield stream
        return
    folder = posixpath.dirname(inner)
    temporary = join(folder, f".{name_of(inner)}.tmp.{uuid.uuid4().hex}")
    with naming(path):
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        raw = _NamedFile(temporary, path)
    try:
        with io.BufferedWriter(raw, _BUFFER_BYTES) as stream:
            yield stream
            stream.flush()
            with naming(path):
                os.fsync(raw.fileno())
        with naming(path):
            os.replace(temporary, inner)  # noqa: PTH105
            _sync_folder(folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108
        raise


@contextmanager
def _upload(fs: fsspec.AbstractFileSystem, inner: str) -> Iterator[IO[bytes]]:
    stream = fs.open(inner, "wb", autocommit=False)
    try:
        yield stream
        stream.close()
    except BaseException:
        stream.discard()
        raise
    stream.commit()


class _NamedFile(io.FileIO):
    """A new file, written from start to end, whose failed writes name the path that the user knows."""

    def __init__(self, temporary: str, path: str) -> None:
        super().__init__(temporary, "wb")
        self._path = path
        self._handed_on = 0

    def write(self, data: Any) -> int:
        with naming(self._path):
            written = super().write(data)
        size = self.tell()
        if size - self._handed_on >= _WRITE_BEHIND_BYTES:
            _begin_writing(self.fileno(), self._handed_on, size - self._handed_on)
            self._handed_on = size
        return written


def _begin_writing(descriptor: int, start: int, size: int) -> None:
    """Have Linux begin to write a file's dirty pages to the disk, wait for none of them, and keep them in its cache.

    Other systems begin at the flush; what goes wrong on the disk is told then. (posix_fadvise would drop the pages,
    and the next stage reads them.)
    """
    if _SYNC_FILE_RANGE is not None:
        _SYNC_FILE_RANGE(descriptor, ctypes.c_int64(start), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Raise what the system refuses in the block as a ClipsieveError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise ClipsieveError(
            f"{path}: cannot be written: {error.strerror}; fix that and run the same command again to resume"
        ) from error


def _sync_folder(folder: str) -> None:
    """Have the disk remember the folder's names: after a power failure a renamed file is there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def without_leftovers(*folders: str) -> Iterator[None]:
    """Remove the temporary files of killed writers in ``folders``, and again when the block fails.

    No other job may be at work there. Those in folders of ours within them, as ``_manifest``, go too.
    """
    _remove_leftovers(folders)
    try:
        yield
    except BaseException:
        _remove_leftovers(folders)
        raise


def _remove_leftovers(folders: Sequence[str]) -> None:
    for folder in folders:
        fs, inner = filesystem(folder)
        if not isinstance(fs, LocalFileSystem) or not fs.isdir(inner):
            continue
        for entry in fs.ls(inner, detail=True):
            name = name_of(entry["name"])
            if entry["type"] == "directory" and name.startswith("_"):
                _remove_leftovers([entry["name"]])
            elif name.startswith(".") and ".tmp." in name:
                remove(entry["name"])


def remove(*paths: str) -> None:
    """Remove files, and folders with all that is in them. A path where there is nothing, or no more, is passed over."""
    for path in paths:
        fs, inner = filesystem(path)
        fs.invalidate_cache(inner)  # another process may have written there
        with suppress(FileNotFoundError):
            if fs.isdir(inner):
                fs.rm(inner, recursive=True)
            else:
                fs.rm_file(inner)


def write_bytes(path: str, data: bytes) -> None:
    with atomic_write(path) as stream:
        stream.write(data)


def write_if_changed(path: str, data: bytes) -> None:
    """Write ``data``, unless ``path`` holds just that: a run that is run again leaves its files alone."""
    if not exists(path) or read_bytes(path) != data:
        write_bytes(path, data)


def sha256_file(path: str) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    return _digest_file(path, hashlib.sha256())


def xxh3_file(path: str) -> str:
    """Hex XXH3 (128 bits) of a file's bytes: ten times as fast as SHA-256.

    For large files next to whose digest anyone who changes them can also change the digest: it tells damage, and that
    is all that any digest there could.
    """
    return _digest_file(path, xxhash.xxh3_128())


def _digest_file(path: str, digest: Any) -> str:
    with open_read(path) as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return str(digest.hexdigest())


def sha256_text(*parts: Any) -> str:
    """Hex SHA-256 of the parts' text, each ended by a NUL so that no two lists of parts run together."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(str(part).encode() + b"\0")
    return digest.hexdigest()
