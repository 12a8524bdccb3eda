"""Whole tars of an object store on the local disk, for an order of windows: fetched ahead, once a node, then removed.

    positions      … window 3 ………………… | window 4 ……………………
    on the disk    3, and 4 comes        | 4, and 5 comes; 3 goes some steps later

What is fetched and removed when changes no sample: a tar that is not there is fetched by whoever reads it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.lock import in_turn
from clipsieve.schemas.ranges import Range
from clipsieve.schemas.threads import open_pool
from clipsieve.training.data.epochs import Window
from clipsieve.training.data.order import SampleOrder

_FETCHED_AT_ONCE = 8
_STEPS_BEHIND = 16
"""How many steps a node's slowest reader may be behind its fastest and find its tars without fetching them again."""


class TarCache:
    """Reads byte ranges of tars through copies in a local folder. Safe to call from several processes and threads."""

    def __init__(self, folder: str, state: str) -> None:
        """``state`` tells the tars as they are from those before a takedown, of which no copy may be read."""
        self._folder = Path(folder, state)

    def read(self, ranges: Sequence[Range]) -> list[bytes]:
        """As `RangeReader.read`."""
        return [self._read(*place) for place in ranges]

    def fetch(self, tar: str) -> Path:
        """Where the copy of a tar is; makes it first, unless another does: then waits for it."""
        path = self._path(tar)
        if path.exists():
            return path
        with in_turn(_lock_of(path)):
            if not path.exists():
                fs, inner = files.filesystem(tar)
                partial = path.with_name(f"{path.name}.part")
                try:
                    fs.get_file(inner, str(partial))
                except FileNotFoundError as error:
                    raise InputError(f"{tar}: no such file") from error
                partial.replace(path)
        return path

    def drop(self, tars: Iterable[str]) -> None:
        """Remove the copies of these tars."""
        for path in map(self._path, tars):
            path.unlink(missing_ok=True)
            Path(_lock_of(path)).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the folder."""
        files.remove(str(self._folder.parent))

    def drop_earlier(self) -> None:
        """Remove the copies of tars in another state."""
        earlier = {*files.list_folders(str(self._folder.parent))} - {str(self._folder)}
        files.remove(*earlier)

    def _read(self, tar: str, start: int, size: int) -> bytes:
        path = f"{self._folder}/{_name_of(tar)}"
        while True:
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                self.fetch(tar)
                continue
            try:
                return os.pread(descriptor, size, start)
            finally:
                os.close(descriptor)  # the disk would keep a removed copy for an open handle

    def _path(self, tar: str) -> Path:
        return self._folder / _name_of(tar)


class TarsAhead:
    """Keeps the tars of the windows that are read, and of those that follow, in a `TarCache`."""

    def __init__(self, order: SampleOrder, cache: TarCache) -> None:
        self._order, self._cache = order, cache
        self._pool = open_pool(_FETCHED_AT_ONCE, "tars ahead")
        self._held: dict[tuple[int, int, int], Window] = {}
        self._recent: deque[set[tuple[int, int, int]]] = deque(maxlen=_STEPS_BEHIND)

    def __enter__(self) -> TarsAhead:
        self._cache.drop_earlier()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def move(self, positions: range) -> None:
        """Have a step's positions, and what follows them, at hand soon; drop what steps long before needed."""
        windows = self._order.windows(positions.start, positions.stop)
        self._recent.append({window.key for window in windows})
        for window in windows:
            if window.key not in self._held:
                self._held[window.key] = window
                for tar in self._tars(window):
                    self._pool.submit(self._fetch, window.key, tar)
        needed = set().union(*self._recent)
        old = [self._held.pop(key) for key in list(self._held) if key not in needed]
        if old:
            kept = {tar for window in self._held.values() for tar in self._tars(window)}
            self._cache.drop(tar for window in old for tar in self._tars(window) if tar not in kept)

    def _fetch(self, key: tuple[int, int, int], tar: str) -> None:
        """In a thread; what fails is told to whoever reads the tar."""
        if key in self._held:
            self._cache.fetch(tar)

    def _tars(self, window: Window) -> list[str]:
        return [self._order.plan.tars[shard] for shard in window.shards.tolist()]


@lru_cache(1 << 14)  # it takes longer than to read a sample
def _name_of(tar: str) -> str:
    return f"{files.sha256_text(tar)[:16]}-{files.name_of(tar)}"


def _lock_of(path: Path) -> str:
    return f"{path}.lock"
