"""Standard output and error that end no job: closed, on a full disk, or left by their reader."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

_LEFT_BY_READER = (errno.EPIPE, errno.ESHUTDOWN)


class PatientFile(io.FileIO):
    """A file that drops what it cannot write, from the first failure on."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write, or drop, all of ``data``."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def make_outputs_patient() -> PatientFile | None:
    """Put streams that cannot fail in the places of sys.stdout and sys.stderr; returns the file of standard output.

    Where Python's own streams have been replaced already they stay, and the file is None. A closed standard stream
    becomes the null device: the next file to be opened would get its number, and what is said to the terminal.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        _open_if_closed(number, flags)
    if sys.stderr is sys.__stderr__:
        _, sys.stderr = _patient(2, sys.stderr)
    if sys.stdout is not sys.__stdout__:
        return None
    file, sys.stdout = _patient(1, sys.stdout)
    return file


def lost_output(file: PatientFile | None) -> OSError | None:
    """Why standard output lacks some of what was written to it; a reader that has read enough is no reason."""
    sys.stdout.flush()
    error = file.error if file else None
    return None if error is None or error.errno in _LEFT_BY_READER else error


def _open_if_closed(number: int, flags: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, flags)
        os.dup2(opened, number, inheritable=True)
        if opened != number:
            os.close(opened)


def _patient(number: int, python_own: Any) -> tuple[PatientFile, io.TextIOWrapper]:
    """A stream of a file descriptor with the encoding and buffering of Python's own, which is None if it was closed.

    What the encoding lacks is escaped.
    """
    file = PatientFile(number, "w", closefd=False)
    encoding = python_own.encoding if python_own else "utf-8"
    by_line = python_own.line_buffering if python_own else True
    return file, io.TextIOWrapper(io.BufferedWriter(file), encoding, "backslashreplace", line_buffering=by_line)
