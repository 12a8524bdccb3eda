"""Files through fsspec: a path may be local, ``gs://`` or ``s3://``; a write is whole or absent (law 2)."""

from __future__ import annotations

import hashlib
import os
import posixpath
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from schemas.errors import InputError


def filesystem(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of ``path`` and the path as that filesystem names it."""
    fs, inner = url_to_fs(str(path))
    return fs, inner


def join(folder: str, *names: str) -> str:
    return posixpath.join(str(folder), *names)


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
    """Open for reading; a missing file is an InputError."""
    fs, inner = filesystem(path)
    if not fs.isfile(inner):
        raise InputError(f"{path}: no such file")
    with fs.open(inner, "rb") as stream:
        yield stream


@contextmanager
def atomic_write(path: str) -> Iterator[IO[bytes]]:
    """Write ``path`` under a temporary name, flush it to the disk and rename it; on an error nothing is left.

    Object stores show a file only when its upload is complete, so there the file is written under its own name.
    """
    fs, inner = filesystem(path)
    fs.makedirs(fs._parent(inner), exist_ok=True)
    if not isinstance(fs, LocalFileSystem):
        with fs.open(inner, "wb") as stream:
            yield stream
        return
    temporary = join(fs._parent(inner), f".{name_of(inner)}.tmp.{uuid.uuid4().hex}")
    try:
        with open(temporary, "wb") as stream:  # noqa: PTH123
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, inner)  # noqa: PTH105
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108
        raise


def remove_leftovers(folder: str) -> None:
    """Remove the temporary files of killed writers directly in ``folder``, where no other may be at work."""
    fs, inner = filesystem(folder)
    if isinstance(fs, LocalFileSystem) and fs.isdir(inner):
        for path in fs.ls(inner, detail=False):
            if name_of(path).startswith(".") and ".tmp." in name_of(path):
                fs.rm_file(path)


def write_bytes(path: str, data: bytes) -> None:
    with atomic_write(path) as stream:
        stream.write(data)


def write_if_changed(path: str, data: bytes) -> None:
    """Write ``data``, unless ``path`` holds just that: a run that is run again leaves its files alone."""
    if not exists(path) or read_bytes(path) != data:
        write_bytes(path, data)


def sha256_file(path: str) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with open_read(path) as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def sha256_text(*parts: Any) -> str:
    """Hex SHA-256 of the parts' text, each ended by a NUL so that no two lists of parts run together."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(str(part).encode() + b"\0")
    return digest.hexdigest()
