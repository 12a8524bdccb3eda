"""One command at a time in a folder, one process at a time at a piece of work: locks that end with their process."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from fsspec.implementations.local import LocalFileSystem

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError

_NO_LOCKS = frozenset({errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
"""How network file systems say that they cannot lock a folder; NFS takes locks on files opened for writing alone."""


@contextmanager
def only_writer(*folders: str) -> Iterator[None]:
    """Hold ``folders`` while the block writes into them. No file of a lock is in them.

    A folder that is not there is made, and removed again where nothing was written. Raises InputError where another
    process holds one. Buckets have no such lock, nor has every network file system: there the block runs without.
    """
    with ExitStack() as held:
        for folder in folders:
            held.enter_context(_held(folder))
        yield


@contextmanager
def in_turn(path: str) -> Iterator[None]:
    """Hold the local file ``path``, made where it is not there, while the block runs; waits for whoever holds it."""
    with files.naming(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _held(folder: str) -> Iterator[None]:
    fs, inner = files.filesystem(folder)
    if not isinstance(fs, LocalFileSystem):
        yield
        return
    is_new = not fs.isdir(inner)
    with files.naming(folder):
        os.makedirs(inner, exist_ok=True)  # noqa: PTH103
    descriptor = os.open(inner, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        try:
            yield
        finally:
            if is_new:
                with suppress(OSError):  # as a rule something was written
                    os.rmdir(inner)  # noqa: PTH106
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"{folder}: another command is at work in this folder; wait for its end, or choose another --out"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
