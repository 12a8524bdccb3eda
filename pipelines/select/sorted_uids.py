"""Uids as DataComp's sorted subset file, however many: sorted in runs on the local disk, then merged.

    blocks of uids -> runs of 1M, each sorted, one after another in a temporary file
                   -> the runs' next 16,384 uids each -> those that no later one can precede, sorted -> the npy

Memory holds one run, or a block of every run: 64 MB at 250M uids.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import IO

import numpy as np

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.members import as_raw, as_strings
from clipsieve.schemas.uid import UID_U64_PAIR, to_u64_pairs, uid_strings

RUN_UIDS = 1 << 20
BLOCK_UIDS = 1 << 14
_UID_BYTES = 16


def write_uids(blocks: Iterable[np.ndarray], path: str) -> str:
    """Write blocks of uids, uint8[N, 16] each, as structured (upper64, lower64)[M], sorted; returns ``path``.

    Raises InputError for a uid that is duplicated.
    """
    with tempfile.TemporaryFile() as spilled:
        lengths = [_spill(run, spilled) for run in _runs(blocks)]
        with files.atomic_write(path) as stream:
            header = {"descr": UID_U64_PAIR.descr, "fortran_order": False, "shape": (sum(lengths),)}
            np.lib.format.write_array_header_1_0(stream, header)
            last: np.ndarray = np.zeros(0, "S16")
            for merged in _merge(spilled, lengths):
                _refuse_repeated(np.concatenate([last, merged]), path)
                stream.write(to_u64_pairs(as_raw(merged)).tobytes())
                last = merged[-1:]
    return path


def _runs(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """bytes[N] of 16, sorted, of `RUN_UIDS` and what one block adds to them."""
    waiting: list[np.ndarray] = []
    for block in blocks:
        waiting.append(as_strings(block))
        if sum(map(len, waiting)) >= RUN_UIDS:
            yield np.sort(np.concatenate(waiting))
            waiting = []
    if waiting:
        yield np.sort(np.concatenate(waiting))


def _spill(run: np.ndarray, spilled: IO[bytes]) -> int:
    spilled.write(run.tobytes())
    return len(run)


def _merge(spilled: IO[bytes], lengths: list[int]) -> Iterator[np.ndarray]:
    """Sorted runs that lie one after another in a file -> all their uids in order, in blocks of bytes[N] of 16.

    A round takes the uids that no unread one can precede, up to the least of the blocks' last uids:

        run 0    1 4 7 9 | 12 …      bound: min(9, 6) = 6
        run 1    2 3 5 6 | 8 …       taken: 1 2 3 4 5 6; run 0 keeps 7 9, and run 1 reads its next block
    """
    ends = list(accumulate(lengths))
    nexts = [end - length for end, length in zip(ends, lengths, strict=True)]
    blocks: list[np.ndarray] = [np.zeros(0, "S16") for _ in lengths]
    while True:
        # Read the next block of each run whose block is used up.
        for run, block in enumerate(blocks):
            if not len(block) and nexts[run] < ends[run]:
                uids = min(BLOCK_UIDS, ends[run] - nexts[run])
                spilled.seek(nexts[run] * _UID_BYTES)
                blocks[run] = np.frombuffer(spilled.read(uids * _UID_BYTES), "S16")
                nexts[run] += uids
        # A run that is read to its end sets no bound: nothing of it can come later.
        unread = [block[-1] for run, block in enumerate(blocks) if nexts[run] < ends[run]]
        bound = min(unread, default=None)
        cuts = [len(block) if bound is None else np.searchsorted(block, bound, "right") for block in blocks]
        merged = np.sort(np.concatenate([np.zeros(0, "S16"), *(b[:cut] for b, cut in zip(blocks, cuts, strict=True))]))
        if not len(merged):
            return
        yield merged
        blocks = [block[cut:] for block, cut in zip(blocks, cuts, strict=True)]


def _refuse_repeated(uids: np.ndarray, path: str) -> None:
    repeated = uids[1:] == uids[:-1]
    if repeated.any():
        uid = uid_strings(as_raw(uids[int(np.argmax(repeated)) :][:1]))[0]
        raise InputError(f"{path}: uid {uid} is duplicated in the scores; remove one of the rows")
