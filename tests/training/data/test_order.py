"""The stream of samples: epochs without repeats, mixtures with exact shares, the same however it is cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.schemas.errors import InputError
from clipsieve.training.data.order import BLOCK, make_order
from clipsieve.training.data.plan import SamplePlan

BATCH = 16


def order_of(samples, subsets=(), shares=(), seed=0):
    """Subsets are given by their members' indices; one that stands several times has that weight."""
    zeros = np.zeros(samples, np.int64)
    counted = [np.unique(np.asarray(subset), return_counts=True) for subset in subsets]
    members, weights = (tuple(column) for column in zip(*counted, strict=True)) if counted else ((), ())
    plan = SamplePlan(("0.tar",), None, zeros.astype(np.int32), zeros, zeros, members, weights, zeros.astype("S16"))
    return make_order(plan, shares, seed, BATCH)


@given(st.integers(1, 30), st.integers(0, 3), st.integers(0, 5))
def test_each_epoch_of_the_stream_is_one_permutation(count, seed, epoch):
    indices = order_of(count, seed=seed).slice(epoch * count, (epoch + 1) * count)
    assert sorted(indices) == list(range(count))


SUBSETS = (range(7), range(5, 12), range(20, 50))


@given(st.booleans(), st.integers(0, 3 * BLOCK), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_the_stream_is_the_same_however_it_is_cut(is_mixed, start, lengths):
    order = order_of(50, SUBSETS, (1, 2, 3)) if is_mixed else order_of(50)
    bounds = np.cumsum([start, *lengths])
    pieces = [order.slice(a, b) for a, b in pairwise(bounds)]
    assert np.array_equal(np.concatenate(pieces), order.slice(start, int(bounds[-1])))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [order_of(50, seed=seed).slice(start, start + 50).tolist() for seed in (0, 1) for start in (0, 50)]
    assert len({tuple(order) for order in orders}) == 4


def test_a_mixture_gives_each_subset_its_share_of_every_block():
    order = order_of(50, (range(20), range(20, 50)), (7, 3))
    for block in range(3):
        indices = order.slice(block * BLOCK, (block + 1) * BLOCK)
        assert np.count_nonzero(indices < 20) == 7000
    whole = order.slice(0, 3 * BLOCK)
    first, second = whole[whole < 20], whole[whole >= 20]
    for members, seen in ((range(20), first), (range(20, 50), second)):
        size = len(members)
        for start in range(0, len(seen) - size, size):
            assert sorted(seen[start : start + size]) == list(members)  # its own epochs, without repeats
    assert 0.6 < np.mean(whole[:500] < 20) < 0.8


def test_a_mixture_is_as_the_recipe_says_position_by_position():
    """A run that is resumed goes on in this stream, so it is part of the format."""
    seed, slots, count = 7, (3333, 6667), BLOCK + 500
    order = order_of(50, (range(7), range(5, 50)), (1, 2), seed)
    assert order.slots == slots  # the place that is left over goes to the larger remainder
    seen, expected = [0, 0], []
    for position in range(count):
        block, place = divmod(position, BLOCK)
        if not place:
            whose = np.repeat([0, 1], slots)
            turns = np.random.default_rng((seed, block, 2**31)).permutation(whose)
        subset = int(turns[place])
        members = (range(7), range(5, 50))[subset]
        epoch, number = divmod(seen[subset], len(members))
        shuffled = np.random.default_rng((seed, epoch, subset)).permutation(len(members))
        expected.append(members[shuffled[number]])
        seen[subset] += 1
    assert order.slice(0, count).tolist() == expected


@pytest.mark.parametrize("subsets", [(), (range(10, 40),)])
def test_epochs_are_as_the_recipe_says(subsets):
    members = np.arange(50) if not subsets else np.array(subsets[0])
    epochs = [np.random.default_rng((3, epoch, 0)).permutation(len(members)) for epoch in range(3)]
    order = order_of(50, subsets, (1,) if subsets else (), seed=3)
    assert np.array_equal(order.slice(0, 3 * len(members)), members[np.concatenate(epochs)])
    assert order.unique(20) == 20 and order.unique(100) == len(members)


def test_of_equal_remainders_the_first_has_the_place():
    assert order_of(3, ([0], [1], [2]), (1, 1, 1)).slots == (3334, 3333, 3333)


@given(st.lists(st.floats(1, 100), min_size=2, max_size=6))
def test_shares_are_the_weights_to_within_a_place(weights):
    slots = order_of(len(weights), [[n] for n in range(len(weights))], weights).slots
    exact = np.array(weights) / sum(weights) * BLOCK
    assert sum(slots) == BLOCK and np.all(np.abs(np.array(slots) - exact) < 1)


@pytest.mark.parametrize("seen", [0, 1, 33, 500, 12_345])
def test_unique_samples_are_counted(seen):
    large = order_of(12_000, (range(9_000), range(9_000, 12_000)), (1, 1))
    for order in (order_of(300), order_of(50, SUBSETS, (1, 2, 3)), large):
        assert order.unique(seen) == len(np.unique(order.slice(0, seen)))


def test_a_weight_without_a_place_is_refused():
    with pytest.raises(InputError, match=r"subset: weight 1e-05 is less than 1 in 10,000"):
        order_of(2, ([0], [1]), (1, 1e-5))
