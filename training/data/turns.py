"""Slots of memory in turn: filled ahead of the step, held by it, and filled again once it, and a GPU, are done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch

from clipsieve.training.data.ring import Arrays

T = TypeVar("T")

_AHEAD = 2
"""Batches."""
_ON_DEVICE = 2
"""Batches before the current one that a GPU may not have fetched yet: the host may be that many steps ahead of it."""


def slots_needed() -> int:
    """How many slots it takes to be two batches ahead."""
    return _AHEAD + 1 + _lag()


def in_turn(
    slots: Sequence[Arrays],
    shares: Iterable[range],
    begin: Callable[[int, range], object],
    finish: Callable[[int], T],
) -> Iterator[tuple[Arrays, T]]:
    """The arrays of each range of positions, with what was said of them, in order.

    ``begin`` has a slot filled with a range, ``finish`` waits until it is and returns what is said of it. A slot is
    filled anew once the next is requested; where there is a GPU, once it has done what was requested of it by then.
    """
    ahead = iter(shares)
    free: deque[tuple[int, torch.cuda.Event | None]] = deque((slot, None) for slot in range(len(slots)))
    begun: deque[tuple[int, int]] = deque()
    while True:
        while len(free) > _lag() and (share := next(ahead, None)) is not None:
            slot, used = free.popleft()
            if used is not None:
                used.synchronize()
            begin(slot, share)
            begun.append((slot, len(share)))
        if not begun:
            return
        slot, pairs = begun.popleft()
        said = finish(slot)
        yield {name: array[:pairs] for name, array in slots[slot].items()}, said
        free.append((slot, _recorded()))


def _lag() -> int:
    return _ON_DEVICE if torch.cuda.is_available() else 0


def _recorded() -> torch.cuda.Event | None:
    """An event after all that was requested of the GPU so far; None where there is none."""
    if not torch.cuda.is_available():
        return None
    event = torch.cuda.Event()
    event.record()
    return event
