"""Epochs in which a pair stands as often as its weight says, no two of its copies less than a batch apart.

Copy j of a pair of weight w has the key (j + u) / w, with u drawn for the pair and the epoch; the epoch is the pairs by
key. So copies are about 1/w of the epoch apart, and pairs of weight 1 are shuffled:

    weight 3   |-----a-----------a-----------a-----|     u = 0.5: keys 1/6, 3/6, 5/6
    weight 1   |--------------------b--------------|     u = 0.6

Where that leaves two copies closer than a batch, one of them changes its place with another pair. Across the border of
two epochs they are kept apart by halves: the epoch before ends, for less than a batch, with pairs of the one half, the
next begins with pairs of the other, and each border divides the pairs anew.

Unlike other epochs these are tables: 8 bytes a position, of two epochs in every process that picks from them.
"""

from __future__ import annotations

import numpy as np

from clipsieve.schemas.errors import InputError
from clipsieve.training.data.epochs import LatestEpochs

_ROOM = 3
"""How many batches an epoch has to have for each copy of its heaviest pair, so that they find places."""
_TRIES = 10_000
_BORDER, _REPAIR = 1 << 30, 1 << 29
"""Keep these draws apart from those of the keys."""


class WeightedEpochs:
    """The epochs of pairs with whole weights [N], each at least 1, under a seed."""

    def __init__(self, weights: np.ndarray, batch_size: int, seed: tuple[int, int]) -> None:
        """Raises InputError where the copies of a pair cannot be kept a batch apart."""
        self._weights, self._batch, self._seed = weights, batch_size, seed
        self.length = int(weights.sum())
        self.members = len(weights)
        self.order = LatestEpochs(self._order)
        heaviest = int(weights.max())
        if heaviest * batch_size * _ROOM > self.length:
            raise InputError(
                f"subset: a pair stands in it {heaviest} times, too often to keep its copies apart in batches of "
                f"{batch_size} of the {self.length} samples of an epoch; lower `batch_size` or its weight"
            )

    def pick(self, positions: np.ndarray) -> np.ndarray:
        """The members at these positions of the subset's stream; both int64[n]."""
        epochs, places = np.divmod(positions, self.length)
        picked = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs).tolist():
            is_of_it = epochs == epoch
            picked[is_of_it] = self.order(epoch)[places[is_of_it]]
        return picked

    def other(self, position: int, rng: np.random.Generator) -> int:
        """A member to draw instead of the one at a position."""
        return int(rng.integers(self.members))

    def _order(self, epoch: int) -> np.ndarray:
        """int64[length]: the pairs of an epoch, as indices into the weights."""
        weights = self._weights.astype(np.int64)
        members = np.repeat(np.arange(len(weights)), weights)
        copies = np.arange(self.length) - np.repeat(np.cumsum(weights) - weights, weights)
        draws = np.random.default_rng((*self._seed, epoch)).random(len(weights))
        order = members[np.argsort((copies + draws[members]) / weights[members], kind="stable")]
        first, last = self._half(epoch), ~self._half(epoch + 1)
        _lead_with(order, first, self._batch - 1)
        _lead_with(order[::-1], last, self._batch - 1)
        self._keep_apart(order, first, last, np.random.default_rng((*self._seed, epoch, _REPAIR)))
        return order

    def _half(self, epoch: int) -> np.ndarray:
        """bool[N]: the pairs with which the epoch may begin; with the others the one before it ends."""
        return np.random.default_rng((*self._seed, epoch, _BORDER)).random(len(self._weights)) < 0.5

    def _keep_apart(self, order: np.ndarray, first: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> None:
        """Exchange crowded places with others in the middle, until equal pairs are at least a batch apart."""
        edge = self._batch - 1
        while len(crowded := _crowded(order, self._batch)):
            for place in crowded.tolist():
                others = rng.integers(edge, len(order) - edge, _TRIES)
                if place < edge:
                    others = others[first[order[others]]]
                elif place >= len(order) - edge:
                    others = others[last[order[others]]]
                self._exchange(order, place, others)

    def _exchange(self, order: np.ndarray, place: int, others: np.ndarray) -> None:
        """Exchange ``place`` with the first of ``others`` where neither is crowded then."""
        for other in others.tolist():
            order[[place, other]] = order[[other, place]]
            if self._is_alone(order, place) and self._is_alone(order, other):
                return
            order[[place, other]] = order[[other, place]]
        raise InputError("subset: copies of its pairs cannot be kept a batch apart; lower `batch_size`, or the weights")

    def _is_alone(self, order: np.ndarray, place: int) -> bool:
        near = order[max(0, place - self._batch + 1) : place + self._batch]
        return int(np.count_nonzero(near == order[place])) == 1


def _lead_with(order: np.ndarray, is_wanted: np.ndarray, places: int) -> None:
    """Bring the first ``places`` wanted pairs of an order to its front, the others behind them, all as they follow."""
    wanted = is_wanted[order]
    needed = int(np.searchsorted(np.cumsum(wanted), places)) + 1 if places else 0
    head, is_first = order[:needed].copy(), wanted[:needed]
    order[:needed] = np.concatenate([head[is_first], head[~is_first]])


def _crowded(order: np.ndarray, batch: int) -> np.ndarray:
    """Places whose pair stands less than a batch before them too."""
    by_pair = np.argsort(order, kind="stable")
    is_near = (np.diff(order[by_pair]) == 0) & (np.diff(by_pair) < batch)
    return np.sort(by_pair[1:][is_near])
