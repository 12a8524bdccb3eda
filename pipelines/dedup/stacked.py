"""Arrays of many files as one, on the local disk: rows are read by number, in any order, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from clipsieve.schemas.errors import ClipsieveError, InputError


def stack(parts: Iterable[tuple[str, np.ndarray]], path: Path) -> np.ndarray:
    """(name, array [n, ...]) of one type and width -> all of them, one after the other, mapped from ``path``.

    Raises InputError, naming the part, where its type or width is not the first one's.
    """
    kind: tuple[np.dtype, tuple[int, ...]] | None = None
    try:
        with path.open("wb") as stream:
            for name, part in parts:
                kind = kind or (part.dtype, part.shape[1:])
                if kind != (part.dtype, part.shape[1:]):
                    wanted = f"{kind[0]} of shape {list(kind[1])}"
                    raise InputError(f"{name}: rows of {part.dtype} and {list(part.shape[1:])}, not of {wanted}")
                stream.write(np.ascontiguousarray(part).data)
    except OSError as error:
        raise ClipsieveError(
            f"{path.parent}: cannot be written: {error.strerror}; make room there, or set TMPDIR to where there is some"
        ) from error
    if kind is None or not path.stat().st_size:
        return np.zeros((0, *(kind[1] if kind else (1,))), kind[0] if kind else np.float16)
    return np.memmap(path, kind[0], "r").reshape(-1, *kind[1])


def gather_by_rank(stored: np.ndarray, place: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function from ranks int64[R] to the rows of ``stored`` at ``place[ranks]``."""
    return lambda ranks: np.asarray(stored[place[ranks]])
