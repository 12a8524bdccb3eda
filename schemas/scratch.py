"""Folders on this machine's disk for what a command can make again, below the system's folder for temporary files."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError


def scratch_folder(name: str) -> str:
    """The path of the folder ``name`` in one that is this user's alone; others write into the one above it, too.

    Raises InputError where somebody else has made that one.
    """
    own = Path(tempfile.gettempdir(), f"clipsieve-{os.getuid()}")
    with files.naming(str(own)):
        own.mkdir(mode=0o700, exist_ok=True)
        found = own.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise InputError(f"{own}: not a folder of this user alone; remove it, or set TMPDIR to another folder")
    return str(own / name)
