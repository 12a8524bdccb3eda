"""The endless stream of samples: which sample of a plan stands at each position, a function of the recipe alone.

A subset's part of the stream is a row of epochs, each one permutation of its members, so each is seen once before any
is seen again; weighted.py tells of members with weights. Several subsets share the stream by weight: each block of
10,000 positions has as many of each as its weight says, in an order drawn for the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from clipsieve.schemas.errors import InputError
from clipsieve.training.data.plan import SamplePlan
from clipsieve.training.data.weighted import WeightedEpochs

BLOCK = 10_000
"""Positions within which the subsets' shares are exact."""
_MIXING, _REPLACING = 1 << 31, 1 << 30
"""Keep the draws of a block, and of a sample that takes another's place, apart from those of an epoch."""


class Epochs(Protocol):
    """The epochs of one subset: arrays of indices into its members."""

    @property
    def length(self) -> int:
        """Positions of an epoch."""

    @property
    def members(self) -> int:
        """Pairs that it holds, each counted once."""

    def order(self, epoch: int) -> np.ndarray:
        """int64[length]: the members of an epoch in its order."""


@dataclass(frozen=True)
class PlainEpochs:
    """Epochs that hold each member once, each a permutation of its own."""

    length: int
    seed: int
    subset: int

    @property
    def members(self) -> int:
        return self.length

    def order(self, epoch: int) -> np.ndarray:
        return _permutation(self.length, self.seed, epoch, self.subset)


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
        """int64[stop - start]: the plan's indices at these positions."""
        if len(self.slots) == 1:
            return self._of_subset(0, start, stop)
        # Two subsets with 3 and 2 of 5 slots; each takes the next of its own stream when it is its turn:
        #     turns     0  1  0  0  1 | 1  0  0  1  0      one order for each block
        #     stream    a0 b0 a1 a2 b1| b2 a3 a4 b3 a5
        indices = np.empty(stop - start, np.int64)
        for block in range(start // BLOCK, -(-stop // BLOCK)):
            first, last = max(start, block * BLOCK), min(stop, (block + 1) * BLOCK)
            turns = _turns(self.slots, self.seed, block)
            mine = turns[first - block * BLOCK : last - block * BLOCK]
            for subset, slots in enumerate(self.slots):
                # How much of its own stream the subset has used before position `first`.
                before = block * slots + int(np.count_nonzero(turns[: first - block * BLOCK] == subset))
                here = mine == subset
                places = np.flatnonzero(here) + first - start
                indices[places] = self._of_subset(subset, before, before + len(places))
        return indices

    def replacement(self, position: int, attempt: int) -> int:
        """The plan's index of a sample that may take the place of the one at a position, as the attempt draws it.

        It is one of the subset that has the position.
        """
        block, place = divmod(position, BLOCK)
        subset = int(_turns(self.slots, self.seed, block)[place]) if len(self.slots) > 1 else 0
        draws = np.random.default_rng((self.seed, position, attempt, _REPLACING))
        if not self.plan.subsets:
            return int(draws.integers(len(self.plan)))
        return int(draws.choice(self.plan.subsets[subset]))

    def unique(self, samples_seen: int) -> int:
        """How many different samples the first ``samples_seen`` positions hold."""
        if len(self.slots) == 1 and isinstance(self.epochs[0], PlainEpochs):
            return min(samples_seen, self.epochs[0].members)
        seen = np.zeros(len(self.plan), bool)
        for subset, slots in enumerate(self.slots):
            block, rest = divmod(samples_seen, BLOCK)
            count = block * slots + int(np.count_nonzero(_turns(self.slots, self.seed, block)[:rest] == subset))
            seen[self._of_subset(subset, 0, min(count, self.epochs[subset].length))] = True
        return int(np.count_nonzero(seen))

    def _of_subset(self, subset: int, start: int, stop: int) -> np.ndarray:
        """The plan's indices at these positions of one subset's own stream."""
        epochs = self.epochs[subset]
        parts: list[np.ndarray] = [np.empty(0, np.int64)]
        while start < stop:
            epoch, first = divmod(start, epochs.length)
            last = min(epochs.length, first + stop - start)
            parts.append(epochs.order(epoch)[first:last])
            start += last - first
        indices = np.concatenate(parts)
        return self.plan.subsets[subset][indices] if self.plan.subsets else indices


def make_order(plan: SamplePlan, shares: Sequence[float], seed: int, batch_size: int) -> SampleOrder:
    """The stream in which the plan's subsets have these shares, which need not add up to 1.

    Raises InputError for a share so small that a block has no place for it, and for weights whose copies cannot be
    kept apart in batches of ``batch_size``.
    """
    if not plan.subsets:
        return SampleOrder(plan, (PlainEpochs(len(plan), seed, 0),), (BLOCK,), seed)
    epochs = tuple(_epochs(weights, batch_size, seed, subset) for subset, weights in enumerate(plan.weights))
    exact = np.asarray(shares, np.float64) / np.sum(shares) * BLOCK
    slots = np.floor(exact).astype(np.int64)
    slots[np.argsort(slots - exact, kind="stable")[: BLOCK - int(slots.sum())]] += 1
    if not slots.all():
        least = shares[int(np.argmin(slots))]
        raise InputError(f"subset: weight {least:g} is less than 1 in {BLOCK:,} of the weights' sum; raise it")
    return SampleOrder(plan, epochs, tuple(slots.tolist()), seed)


def _epochs(weights: np.ndarray, batch_size: int, seed: int, subset: int) -> Epochs:
    if (weights == 1).all():
        return PlainEpochs(len(weights), seed, subset)
    return WeightedEpochs(weights, batch_size, (seed, subset))


@lru_cache(maxsize=8)
def _permutation(members: int, seed: int, epoch: int, subset: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch, subset)).permutation(members)


@lru_cache(maxsize=2)
def _turns(slots: tuple[int, ...], seed: int, block: int) -> np.ndarray:
    """int[BLOCK]: whose turn it is at each position of a block."""
    turns = np.repeat(np.arange(len(slots)), slots)
    return np.random.default_rng((seed, block, _MIXING)).permutation(turns)
