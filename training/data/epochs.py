"""The epochs of a subset: which of its members stands at each position of its own endless stream.

`PlainEpochs` shuffle all members; `WindowEpochs` shuffle shards, and members within windows of so many shards, so that
a reader needs few tars at a time. weighted.py has members that stand several times in an epoch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Generic, Protocol, TypeVar

import numpy as np

from clipsieve.training.data.permutation import member_keys, permuted, round_keys

T = TypeVar("T")

_KEPT = 2
_SHARDS, _WITHIN = 1, 2
"""Keep the keys of the shards' order apart from those of a window's members."""


class Epochs(Protocol):
    """The epochs of one subset. Positions count from the start of its own stream; members by index into it."""

    @property
    def length(self) -> int:
        """Positions of an epoch."""

    @property
    def members(self) -> int:
        """Pairs that it holds, each counted once."""

    def pick(self, positions: np.ndarray) -> np.ndarray:
        """The members at these positions; both int64[n]."""

    def other(self, position: int, rng: np.random.Generator) -> int:
        """A member to draw instead of the one at a position."""


class LatestEpochs(Generic[T]):
    """What ``make`` makes of an epoch, of the two epochs that were asked for last: readers are at most a border apart.

    Safe to call from several threads, of which one makes what the others wait for. A copy in another process begins
    with none.
    """

    def __init__(self, make: Callable[[int], T]) -> None:
        self._make = make
        self._made: OrderedDict[int, T] = OrderedDict()
        self._lock = Lock()

    def __call__(self, epoch: int) -> T:
        with self._lock:
            if epoch not in self._made:
                while len(self._made) >= _KEPT:
                    self._made.popitem(last=False)
                self._made[epoch] = self._make(epoch)
            self._made.move_to_end(epoch)
            return self._made[epoch]

    def __reduce__(self) -> tuple[type[LatestEpochs[T]], tuple[Callable[[int], T]]]:
        return LatestEpochs, (self._make,)


@dataclass(frozen=True)
class PlainEpochs:
    """Epochs that hold each member once, each a permutation of its own."""

    length: int
    seed: int
    subset: int

    @property
    def members(self) -> int:
        return self.length

    def pick(self, positions: np.ndarray) -> np.ndarray:
        epochs, places = np.divmod(positions, self.length)
        met, which = np.unique(epochs, return_inverse=True)
        keys = member_keys(self._keys, met)
        return permuted(places, self.length, keys if len(met) == 1 else keys[:, which])

    def other(self, position: int, rng: np.random.Generator) -> int:
        return int(rng.integers(self.length))

    @cached_property
    def _keys(self) -> np.ndarray:
        return round_keys(self.seed, self.subset)


@dataclass(frozen=True)
class Window:
    """One window of an epoch."""

    start: int
    """Its first position in the subset's stream."""
    shards: np.ndarray
    """int64[w]: the shards that it reads, in an order drawn for the epoch."""
    ends: np.ndarray
    """int64[w]: how many members these shards have, added up."""
    key: tuple[int, int, int]
    """Its subset, epoch, and number in the epoch."""

    @property
    def stop(self) -> int:
        return self.start + int(self.ends[-1])


class WindowEpochs:
    """Epochs that hold each member once: the shards in an order of the epoch's own, windows of them shuffled within.

    ::

        shards     0 1 2 3 4 5  ->  4 1 | 0 5 | 3 2      windows of two shards
        members    4a 4b 1a 1b  ->  1a 4b 4a 1b | …      each window's members in an order of their own
    """

    def __init__(self, bounds: np.ndarray, width: int, seed: int, subset: int) -> None:
        """``bounds``, int64[shards + 1], is the first member of each shard, then how many members there are; a window
        has ``width`` shards."""
        self._bounds, self._width, self._seed, self._subset = bounds, width, seed, subset
        self._occupied = np.flatnonzero(np.diff(bounds))
        self._orders = LatestEpochs(self._order)
        self.length = self.members = int(bounds[-1])

    def pick(self, positions: np.ndarray) -> np.ndarray:
        picked = np.empty(len(positions), np.int64)
        waiting = np.arange(len(positions))
        while len(waiting):
            window = self.window(int(positions[waiting[0]]))
            is_here = (positions[waiting] >= window.start) & (positions[waiting] < window.stop)
            here = waiting[is_here]
            keys = round_keys(self._seed, *window.key, _WITHIN)
            places = permuted(positions[here] - window.start, window.stop - window.start, keys[:, None])
            picked[here] = self._members(window, places)
            waiting = waiting[~is_here]
        return picked

    def other(self, position: int, rng: np.random.Generator) -> int:
        """One of the same window, whose tars are at hand."""
        window = self.window(position)
        return int(self._members(window, rng.integers(window.stop - window.start, size=1))[0])

    def window(self, position: int) -> Window:
        """The window of a position."""
        epoch, place = divmod(position, self.length)
        shards, starts = self._orders(epoch)
        first = (int(np.searchsorted(starts, place, "right")) - 1) // self._width * self._width
        last = min(first + self._width, len(shards))
        return Window(
            start=epoch * self.length + int(starts[first]),
            shards=shards[first:last],
            ends=starts[first + 1 : last + 1] - starts[first],
            key=(self._subset, epoch, first // self._width),
        )

    def _members(self, window: Window, places: np.ndarray) -> np.ndarray:
        """The members that are at these places of a window's shards, one shard after another."""
        which = np.searchsorted(window.ends, places, "right")
        before = np.append(0, window.ends)[which]
        return self._bounds[window.shards[which]] + places - before

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The shards that have members, in the epoch's order; the first place of each, and the epoch's length."""
        count = len(self._occupied)
        keys = round_keys(self._seed, self._subset, epoch, _SHARDS)
        shards = self._occupied[permuted(np.arange(count), count, keys[:, None])]
        return shards, np.append(0, np.cumsum(np.diff(self._bounds)[shards]))
