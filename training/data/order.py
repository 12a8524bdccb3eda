"""The endless stream of samples: which sample of a plan stands at each position, a function of the recipe alone.

A subset's part of the stream is a row of epochs (epochs.py), so each member is seen once before any is seen again.
Several subsets share the stream by weight: each block of 10,000 positions has as many of each as its weight says, in an
order drawn for the block.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clipsieve.schemas.errors import InputError
from clipsieve.training.data.epochs import Epochs, PlainEpochs, Window, WindowEpochs
from clipsieve.training.data.plan_file import SamplePlan
from clipsieve.training.data.weighted import WeightedEpochs

BLOCK = 10_000
"""Positions within which the subsets' shares are exact."""
_MIXING, _REPLACING = 1 << 31, 1 << 30
"""Keep the draws of a block's turns and of replacements apart from each other."""
_TRIES = 10_000
_COUNTED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class SampleOrder:
    """The stream of a plan's samples under a seed."""

    plan: SamplePlan
    epochs: tuple[Epochs, ...]
    """Those of each of the plan's subsets, or of all its samples."""
    slots: tuple[int, ...]
    """How many of each block's positions each of them has."""
    seed: int

    def slice(self, start: int, stop: int) -> np.ndarray:
        """int64[stop - start]: the plan's indices at these positions.

        Samples that are gone since the run began have a replacement each.
        """
        indices = np.empty(stop - start, np.int64)
        for subset, (places, positions) in enumerate(self._by_subset(start, stop)):
            indices[places] = self.plan.members(subset, self.epochs[subset].pick(positions))
        for place in np.flatnonzero(self.plan.is_gone(indices)).tolist():
            indices[place] = self.replacement(start + place, 0)
        return indices

    def replacement(self, position: int, attempt: int) -> int:
        """The plan's index of a sample that may take the place of the one at a position, as the attempt draws it.

        It is of the same subset, and in a windowed order of the same window. Raises InputError where no sample is left.
        """
        ((subset, place),) = [
            (subset, int(positions[0]))
            for subset, (_, positions) in enumerate(self._by_subset(position, position + 1))
            if len(positions)
        ]
        rng = np.random.default_rng((self.seed, position, attempt, _REPLACING))
        for _ in range(_TRIES):
            index = self.plan.members(subset, np.array([self.epochs[subset].other(place, rng)]))
            if not self.plan.is_gone(index).any():
                return int(index[0])
        raise InputError(f"position {position} of the stream: no sample is left to take its place")

    def windows(self, start: int, stop: int) -> list[Window]:
        """The windows in which these positions lie, subset by subset, each with the one that follows; none of a global
        order."""
        found: list[Window] = []
        for epochs, (_, positions) in zip(self.epochs, self._by_subset(start, stop), strict=True):
            if isinstance(epochs, WindowEpochs) and len(positions):
                found.append(epochs.window(int(positions[0])))
                while found[-1].start <= positions[-1]:
                    found.append(epochs.window(found[-1].stop))
        return found

    def unique(self, samples_seen: int) -> int:
        """How many different samples the first ``samples_seen`` positions hold, of the plan as the run began with it.

        Of a mixture they are marked in a temporary file of a byte for each sample of the plan.
        """
        if len(self.slots) == 1 and not isinstance(self.epochs[0], WeightedEpochs):
            return min(samples_seen, self.epochs[0].members)
        with tempfile.TemporaryFile() as file:
            seen = np.memmap(file, np.bool_, "w+", shape=(max(1, len(self.plan)),))
            for subset, slots in enumerate(self.slots):
                block, rest = divmod(samples_seen, BLOCK)
                count = block * slots + int(np.count_nonzero(_turns(self.slots, self.seed, block)[:rest] == subset))
                for positions in _pieces(min(count, self.epochs[subset].length)):
                    seen[self.plan.members(subset, self.epochs[subset].pick(positions))] = True
            return int(np.count_nonzero(seen))

    def _by_subset(self, start: int, stop: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each subset, int64[n] which of the positions from ``start`` on are its own, and int64[n] what positions of
        its own stream these are."""
        if len(self.slots) == 1:
            return [(np.arange(stop - start), np.arange(start, stop))]
        # Two subsets with 3 and 2 of 5 slots; each takes the next of its own stream when it is its turn:
        #     turns     0  1  0  0  1 | 1  0  0  1  0      one order for each block
        #     stream    a0 b0 a1 a2 b1| b2 a3 a4 b3 a5
        nothing = np.empty(0, np.int64)
        parts = [[(nothing, nothing)] for _ in self.slots]
        for block in range(start // BLOCK, -(-stop // BLOCK)):
            first, last = max(start, block * BLOCK), min(stop, (block + 1) * BLOCK)
            turns = _turns(self.slots, self.seed, block)
            for subset, slots in enumerate(self.slots):
                # How much of its own stream the subset has used before position `first`.
                before = block * slots + int(np.count_nonzero(turns[: first - block * BLOCK] == subset))
                here = np.flatnonzero(turns[first - block * BLOCK : last - block * BLOCK] == subset)
                parts[subset].append((here + first - start, before + np.arange(len(here))))
        return [
            (np.concatenate([places for places, _ in pieces]), np.concatenate([own for _, own in pieces]))
            for pieces in parts
        ]


def make_order(plan: SamplePlan, shares: Sequence[float], seed: int, batch_size: int, window: int = 1) -> SampleOrder:
    """The stream in which the plan's subsets have these shares, which need not add up to 1.

    Where the plan's samples stand by shard, the order is of windows of ``window`` shards. Raises InputError for a share
    so small that a block has no place for it, and for weights whose copies cannot be kept apart in batches of
    ``batch_size``.
    """
    epochs = tuple(_epochs(plan, subset, seed, batch_size, window) for subset in range(max(1, len(shares))))
    given = np.asarray(shares or (1,), np.float64)
    exact = given / given.sum() * BLOCK
    slots = np.floor(exact).astype(np.int64)
    slots[np.argsort(slots - exact, kind="stable")[: BLOCK - int(slots.sum())]] += 1
    if not slots.all():
        least = shares[int(np.argmin(slots))]
        raise InputError(f"subset: weight {least:g} is less than 1 in {BLOCK:,} of the weights' sum; raise it")
    return SampleOrder(plan, epochs, tuple(slots.tolist()), seed)


def _epochs(plan: SamplePlan, subset: int, seed: int, batch_size: int, window: int) -> Epochs:
    weights = plan.weights(subset)
    if plan.is_by_shard:
        if weights is not None:
            raise InputError("`order` window: a subset says how often an epoch has its pairs; use the global order")
        return WindowEpochs(plan.bounds(subset), window, seed, subset)
    if weights is not None:
        return WeightedEpochs(weights, batch_size, (seed, subset))
    return PlainEpochs(plan.count(subset), seed, subset)


def _pieces(count: int) -> Iterator[np.ndarray]:
    return (np.arange(start, min(start + _COUNTED_AT_ONCE, count)) for start in range(0, count, _COUNTED_AT_ONCE))


@lru_cache(maxsize=2)
def _turns(slots: tuple[int, ...], seed: int, block: int) -> np.ndarray:
    """int[BLOCK]: whose turn it is at each position of a block."""
    turns = np.repeat(np.arange(len(slots)), slots)
    return np.random.default_rng((seed, block, _MIXING)).permutation(turns)
