"""Rows in the order of their uids, however many: into buckets by uid on the local disk, each then sorted in memory.

    blocks of rows -> 64 MB at a time, by the bucket of their uids -> a file a bucket -> each bucket in turn, sorted

Buckets are bounded by the uids of a few samples of all rows, so that they are about equal whatever the uids are. Rows
that fit into the first 64 MB never see the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np

from clipsieve.schemas.members import as_raw, upper_half
from clipsieve.schemas.threads import cores, map_ahead
from clipsieve.schemas.uid import uid_strings

_HELD_BYTES = 64 << 20
_MOST_BUCKETS = 256


class SortedRows:
    """Collects rows of a structured type that has a field ``uid``, bytes of 16."""

    def __init__(self, folder: Path, dtype: np.dtype, sample: Callable[[], np.ndarray]) -> None:
        """Spilled rows go to ``folder``; ``sample`` gives uids, bytes[n] of 16, that are spread as those of all are."""
        self._folder, self._dtype, self._sample = folder, dtype, sample
        self._held: list[np.ndarray] = []
        self._held_bytes = 0
        self._bounds: np.ndarray | None = None
        self.repeated = 0
        """How many rows have the uid of one before; known once all rows were taken."""
        self.first_repeated: str | None = None

    def add(self, rows: np.ndarray) -> None:
        self._held.append(rows)
        self._held_bytes += rows.nbytes
        if self._held_bytes >= _HELD_BYTES:
            self._spill()

    def blocks(self) -> Generator[np.ndarray, None, None]:
        """All rows, sorted, in blocks; buckets are read and sorted by as many threads as there are cores."""
        if self._bounds is None:
            sorted_blocks: Iterator[np.ndarray] = iter([_sorted(self._taken())])
        else:
            self._spill()
            sorted_blocks = map_ahead(self._read, range(len(self._bounds) + 1), cores(), ahead=cores())
        last = np.zeros(0, "S16")
        for block in sorted_blocks:
            uids = np.concatenate([last, block["uid"]])
            self._count_repeats(uids)
            last = uids[-1:]
            yield block

    def _spill(self) -> None:
        if self._bounds is None:
            uids = np.sort(upper_half(self._sample()))
            places = np.linspace(0, len(uids), _MOST_BUCKETS, endpoint=False)[1:].astype(int)
            self._bounds = np.unique(uids[places])
        rows = self._taken()
        buckets = np.searchsorted(self._bounds, upper_half(rows["uid"]), "right").astype(np.uint8)
        rows = rows[np.argsort(buckets, kind="stable")]
        ends = np.cumsum(np.bincount(buckets, minlength=len(self._bounds) + 1))
        for bucket, part in enumerate(np.split(rows, ends[:-1])):
            with self._path(bucket).open("ab") as file:
                part.tofile(file)

    def _taken(self) -> np.ndarray:
        rows = np.concatenate(self._held or [np.zeros(0, self._dtype)])
        self._held, self._held_bytes = [], 0
        return rows

    def _read(self, bucket: int) -> np.ndarray:
        rows = np.fromfile(self._path(bucket), self._dtype)
        self._path(bucket).unlink()
        return _sorted(rows)

    def _path(self, bucket: int) -> Path:
        return self._folder / f"bucket-{bucket}"

    def _count_repeats(self, uids: np.ndarray) -> None:
        is_repeated = uids[1:] == uids[:-1]
        if is_repeated.any():
            self.repeated += int(np.count_nonzero(is_repeated))
            self.first_repeated = self.first_repeated or uid_strings(as_raw(uids[1:][is_repeated][:1]))[0]


def uid_order(uids: np.ndarray) -> np.ndarray:
    """int64[N]: the places of uids, bytes[N] of 16, in ascending order."""
    upper = upper_half(uids)
    order = np.argsort(upper)
    ordered = upper[order]
    return np.argsort(uids, kind="stable") if (ordered[1:] == ordered[:-1]).any() else order


def _sorted(rows: np.ndarray) -> np.ndarray:
    return rows[uid_order(rows["uid"])]
