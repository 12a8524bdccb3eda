"""The stream of samples: epochs without repeats, mixtures with exact shares, the same however it is cut."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from clipsieve.schemas.errors import InputError
from clipsieve.training.data.epochs import PlainEpochs
from clipsieve.training.data.order import BLOCK, make_order
from clipsieve.training.data.permutation import member_keys, permuted, round_keys
from tests.training.data.plans import plan_of

BATCH = 16


def order_of(samples, subsets=(), shares=(), seed=0):
    """Subsets are given by their members' indices; one that stands several times has that weight."""
    return make_order(plan_of([samples], subsets), shares, seed, BATCH)


def windowed(lengths, window=2, subsets=(), shares=(), seed=0):
    return make_order(plan_of(lengths, subsets, by_shard=True), shares, seed, BATCH, window)


@given(st.integers(1, 30), st.integers(0, 3), st.integers(0, 5))
def test_each_epoch_of_the_stream_is_one_permutation(count, seed, epoch):
    indices = order_of(count, seed=seed).slice(epoch * count, (epoch + 1) * count)
    assert sorted(indices) == list(range(count))


SUBSETS = (range(7), range(5, 12), range(20, 50))


@given(st.booleans(), st.integers(0, 3 * BLOCK), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_the_stream_is_the_same_however_it_is_cut(is_mixed, start, lengths):
    order = order_of(50, SUBSETS, (1, 2, 3)) if is_mixed else windowed([7, 20, 23])
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
    subsets = (range(7), range(5, 50))
    order = order_of(50, subsets, (1, 2), seed)

    def members_of(subset, positions):
        picked = PlainEpochs(len(subsets[subset]), seed, subset).pick(np.array(positions))
        return [subsets[subset][member] for member in picked]

    assert order.slots == slots  # the place that is left over goes to the larger remainder
    streams = [members_of(subset, range(count)) for subset in range(2)]
    seen, expected = [0, 0], []
    for position in range(count):
        block, place = divmod(position, BLOCK)
        if not place:
            whose = np.repeat([0, 1], slots)
            turns = np.random.default_rng((seed, block, 2**31)).permutation(whose)
        subset = int(turns[place])
        expected.append(streams[subset][seen[subset]])
        seen[subset] += 1
    assert order.slice(0, count).tolist() == expected


EPOCHS = [2, 7, 9, 6, 3, 4, 1, 8, 0, 5, 3, 1, 4, 2, 0, 7, 6, 8, 9, 5]
WINDOWS = [5, 4, 3, 7, 8, 6, 1, 2, 0, 1, 5, 6, 3, 4, 2, 0, 7, 8]


def test_the_stream_is_that_of_the_format():
    """A run that is resumed by a later version goes on in it."""
    assert order_of(10, seed=3).slice(0, 20).tolist() == EPOCHS
    assert windowed([3, 0, 4, 2], seed=3).slice(0, 18).tolist() == WINDOWS


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))
def test_each_epoch_of_windows_is_one_permutation_window_by_window(lengths, width, seed, epoch):
    lengths = [*lengths, 1]
    order, samples = windowed(lengths, width, seed=seed), sum(lengths)
    start = epoch * samples
    indices = order.slice(start, start + samples)
    assert sorted(indices) == list(range(samples))
    shards = order.plan.rows["shard"][indices]
    read = []
    while start < (epoch + 1) * samples:
        window, _ = order.windows(start, start + 1)
        assert window.start == start
        assert sorted(set(shards[start % samples :][: window.stop - start])) == sorted(window.shards)
        read.append(len(window.shards))
        start = window.stop
    occupied = sum(length > 0 for length in lengths)
    assert sum(read) == occupied and set(read[:-1]) <= {width} and read[-1] <= width


def test_windows_take_a_mixture_s_subsets_from_the_shards_that_hold_them():
    order = windowed([4, 4, 4], 1, (range(3, 9), range(8, 12)), (1, 1))
    read = {tuple(window.shards.tolist()) for window in order.windows(0, 2)}
    assert len(order.windows(0, 2)) >= 2 and read <= {(0,), (1,), (2,)}
    whole = order.slice(0, BLOCK)
    assert set(whole.tolist()) == set(range(3, 12))


@pytest.mark.parametrize("members", [2, 3, 50, 64, 65, 1000])
def test_where_a_permutation_takes_a_place_is_uniform(members):
    """Chi-square of the first place's member over many epochs: p > 1e-4 for each of these seeds."""
    epochs = PlainEpochs(members, 11, 0)
    firsts = epochs.pick(np.arange(400 * members) * members)
    assert chisquare(np.bincount(firsts, minlength=members)).pvalue > 1e-4


def test_each_order_of_four_and_each_pair_of_fifty_is_as_likely():
    epochs = PlainEpochs(4, 5, 0)
    orders = epochs.pick(np.arange(4 * 24 * 500)).reshape(-1, 4) @ [64, 16, 4, 1]
    counts = np.unique(orders, return_counts=True)[1]
    assert len(counts) == 24 and chisquare(counts).pvalue > 1e-4
    epochs = PlainEpochs(50, 5, 1)
    starts = np.arange(100_000) * 50
    pairs = np.bincount(epochs.pick(starts) * 50 + epochs.pick(starts + 1), minlength=2500).reshape(50, 50)
    assert np.trace(pairs) == 0
    assert chisquare(pairs[~np.eye(50, dtype=bool)]).pvalue > 1e-4


def test_neighbours_in_a_large_epoch_are_as_far_apart_as_drawn_ones():
    """Of 3 billion members: the members at 100,000 successive places, and how far each is from the next."""
    members = 3_000_000_000
    picked = PlainEpochs(members, 2, 0).pick(np.arange(1_234_567_890, 1_234_667_890))
    assert len(np.unique(picked)) == len(picked)
    assert chisquare(np.bincount(picked * 1000 // members, minlength=1000)).pvalue > 1e-4
    apart = np.diff(picked) % members
    assert chisquare(np.bincount(apart * 1000 // members, minlength=1000)).pvalue > 1e-4


@given(st.integers(1, 2000), st.integers(0, 2**64))
def test_a_permutation_has_each_number_once(length, seed):
    keys = member_keys(round_keys(seed), np.array([seed % 1000]))
    assert np.array_equal(np.sort(permuted(np.arange(length), length, keys)), np.arange(length))


def test_a_replacement_is_of_the_subset_and_the_window_of_its_position():
    mixture = order_of(50, (range(10), range(10, 50)), (1, 1), seed=4)
    of_windows = windowed([5] * 10, 2, seed=4)
    for position in range(0, 50, 7):
        drawn = [mixture.replacement(position, attempt) for attempt in range(20)]
        assert len(set(drawn)) > 3 and {index < 10 for index in drawn} == {
            bool(mixture.slice(position, position + 1) < 10)
        }
        assert drawn == [mixture.replacement(position, attempt) for attempt in range(20)]
        window, _ = of_windows.windows(position, position + 1)
        drawn = [of_windows.replacement(position, attempt) for attempt in range(20)]
        assert len(set(drawn)) > 3 and {index // 5 for index in drawn} <= set(window.shards.tolist())


@pytest.mark.parametrize("order", [order_of(30, seed=1), windowed([10] * 3, 2, seed=1)])
def test_what_is_gone_keeps_its_position_and_another_takes_its_place(order):
    rows = order.plan.rows.copy()
    rows["blocks"][[3, 17]] = 0
    plan = replace(
        order.plan,
        header=order.plan.header.model_copy(update={"gone": 2}),
        columns={**order.plan.columns, "rows": rows},
    )
    before, after = order.slice(0, 90), replace(order, plan=plan).slice(0, 90)
    is_gone = np.isin(before, [3, 17])
    assert is_gone.sum() == 6 and np.array_equal(before[~is_gone], after[~is_gone])
    assert not np.isin(after, [3, 17]).any()
    assert np.array_equal(after[40:50], replace(order, plan=plan).slice(40, 50))


def test_an_order_in_another_process_is_the_same():
    orders = [order_of(50, SUBSETS, (1, 2, 3)), windowed([5] * 10), order_of(500, [[0, 0, *range(500)]], (1,))]
    for order in orders:
        assert np.array_equal(pickle.loads(pickle.dumps(order)).slice(0, 700), order.slice(0, 700))


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
    for order in (order_of(300), order_of(50, SUBSETS, (1, 2, 3)), large, windowed([20, 30])):
        assert order.unique(seen) == len(np.unique(order.slice(0, seen)))


def test_a_weight_without_a_place_is_refused():
    with pytest.raises(InputError, match=r"subset: weight 1e-05 is less than 1 in 10,000"):
        order_of(2, ([0], [1]), (1, 1e-5))
