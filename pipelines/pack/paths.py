"""Local files as a stranger's table names them: the path that a value says, and bytes from below one folder alone."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from clipsieve.schemas import files
from clipsieve.schemas.outcomes import ErrorClass

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FILE = re.compile(r"file:(?://(?:localhost)?)?(?=/)(?!//[^/])", re.IGNORECASE)
"""What stands before the path in a ``file:`` URL of this machine (RFC 8089)."""
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP})
_NOT_READABLE = frozenset({errno.EACCES, errno.EPERM, errno.EIO})
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""Stands in a path for each byte that is not UTF-8."""


class PathError(Exception):
    """A path whose file may not, or cannot, be read; ``error_class`` says as what its row failed."""

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class


@dataclass(frozen=True)
class Root:
    """The folder below which files may be read."""

    given: str
    """Its absolute path, as the user wrote it."""
    real: str
    """Its path without symbolic links."""

    @classmethod
    def of(cls, folder: str) -> Root:
        return cls(os.path.normpath(Path(folder).absolute()), os.path.realpath(folder))


def path_below(value: str, folder: str, root: Root) -> str:
    """The path, relative to ``root``, of the file that a table in ``folder``, a real path, names by ``value``.

    A path is relative to the folder or absolute; of a ``file:`` URL it is decoded. Nothing is looked up: ``..`` goes to
    the parent by name. A path that leads out of the root begins with ``..``; a value that names no path stays as it is.
    """
    path, url = value, _FILE.match(value)
    if url:
        try:
            path = unquote_to_bytes(value[url.end() :]).decode()
        except UnicodeDecodeError:
            return value
    if not path or "\0" in path or _SCHEME.match(path):
        return value
    place = os.path.normpath(files.join(folder, path))
    base = root.given if is_below(place, root.given) else root.real
    return os.path.relpath(place, base)


def read_file(root: str, path: str, max_bytes: int) -> bytes:
    """The bytes of the regular file at ``path``, as `path_below` gives it, below the real path ``root``.

    Symbolic links are followed within the root. Raises PathError for a path that leads out of it, for what is no
    regular file, and for a file that is empty or has more than ``max_bytes``.
    """
    if not path or "\0" in path or _FILE.match(path) or path.lower().startswith("file://"):
        raise PathError(ErrorClass.INVALID_URL, "not the path or file:// URL of a file of this machine")
    if _SCHEME.match(path):
        raise PathError(ErrorClass.SCHEME_NOT_ALLOWED, "only paths and file:// URLs; `clipsieve download` takes others")
    real = os.path.realpath(files.join(root, path))
    if not is_below(real, root):
        raise PathError(ErrorClass.FORBIDDEN_PATH, "leads out of the folder whose files may be read")
    try:
        return _read(real, max_bytes)
    except OSError as error:
        if error.errno in _NOT_THERE and REPLACEMENT in path:
            raise PathError(ErrorClass.INVALID_URL, "a name that is not UTF-8; rename the file") from error
        if error.errno in _NOT_THERE:
            raise PathError(ErrorClass.FILE_NOT_FOUND, "no such file") from error
        if error.errno in _NOT_READABLE:
            raise PathError(ErrorClass.FILE_ERROR, os.strerror(error.errno)) from error
        raise


def _read(real: str, max_bytes: int) -> bytes:
    _expect_regular(os.lstat(real))  # before it is opened: to open a device or a pipe may do something
    with os.fdopen(os.open(real, _FLAGS), "rb") as stream:
        found = os.fstat(stream.fileno())
        _expect_regular(found)
        data = stream.read(max_bytes + 1) if found.st_size <= max_bytes else b""
    if max(len(data), found.st_size) > max_bytes:
        raise PathError(ErrorClass.TOO_LARGE, f"over {max_bytes} bytes")
    if not data:
        raise PathError(ErrorClass.EMPTY_BODY, "an empty file")
    return data


def _expect_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise PathError(ErrorClass.NOT_A_FILE, "a folder, device, pipe, or link to itself")


def is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
