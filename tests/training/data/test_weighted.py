"""Weighted epochs: each pair as often as its weight says, and no two of its copies less than a batch apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.schemas.errors import InputError
from clipsieve.training.data.weighted import WeightedEpochs


def nearest(stream: np.ndarray) -> int:
    """The least distance of two equal numbers of a stream, looked for one by one."""
    last: dict[int, int] = {}
    least = len(stream)
    for place, number in enumerate(stream.tolist()):
        least = min(least, place - last.get(number, -len(stream)))
        last[number] = place
    return least


@st.composite
def weighted(draw):
    """Weights, and a batch size that leaves room for the heaviest."""
    weights = np.array(draw(st.lists(st.integers(1, 6), min_size=1, max_size=80)))
    most = int(weights.sum()) // (3 * int(weights.max()))
    return weights, draw(st.integers(1, max(1, most)))


@settings(max_examples=200)
@given(weighted(), st.integers(0, 5))
def test_counts_are_exact_in_each_epoch_and_copies_apart(case, seed):
    weights, batch = case
    if weights.max() * batch * 3 > weights.sum():
        with pytest.raises(InputError, match=f"a pair stands in it {weights.max()} times"):
            WeightedEpochs(weights, batch, (seed, 0))
        return
    epochs = WeightedEpochs(weights, batch, (seed, 0))
    orders = [epochs.order(number) for number in range(4)]
    for order in orders:
        assert np.bincount(order, minlength=len(weights)).tolist() == weights.tolist()
    assert nearest(np.concatenate(orders)) >= batch


def test_ten_thousand_batches_have_no_pair_twice():
    rng = np.random.default_rng(0)
    weights = np.where(rng.random(20_000) < 0.02, 60, rng.integers(1, 4, 20_000))  # as soft caps leave them
    epochs = WeightedEpochs(weights, 128, (0, 0))
    count = -(-10_000 * 128 // epochs.length)
    batches = np.concatenate([epochs.order(number) for number in range(count)])[: 10_000 * 128].reshape(-1, 128)
    ordered = np.sort(batches, axis=1)
    assert not (ordered[:, 1:] == ordered[:, :-1]).any()


def test_an_epoch_is_a_function_of_seed_and_number_alone():
    weights = np.tile([1, 1, 1, 2, 3], 40)
    forwards, backwards = WeightedEpochs(weights, 8, (1, 0)), WeightedEpochs(weights, 8, (1, 0))
    expected = [forwards.order(number).tolist() for number in range(4)]
    assert [backwards.order(number).tolist() for number in (3, 2, 1, 0)] == expected[::-1]
    assert len({tuple(order) for order in expected}) == 4
    assert WeightedEpochs(weights, 8, (2, 0)).order(0).tolist() != expected[0]


def test_copies_are_spread_over_the_epoch():
    order = WeightedEpochs(np.append(np.ones(900, np.int64), [50, 50]), 4, (0, 0)).order(0)
    gaps = np.diff(np.flatnonzero(order == 900))
    assert 16 < gaps.mean() < 24 and gaps.max() < 60
