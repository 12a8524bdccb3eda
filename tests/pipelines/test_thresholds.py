"""Cuts, samples and quantiles against a plain sort of the whole table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import selection, thresholds
from pipelines.selection import Plan, Scored
from schemas.errors import InputError
from schemas.recipe import SelectOptions

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.25, 0.28, -0.1, 1e-38, -1e-38, 1e-45, float(np.float32(0.1))]
similarities = st.one_of(
    st.lists(st.sampled_from(SPECIAL), max_size=200),
    st.lists(st.floats(-1, 1, width=16), max_size=200),
    st.lists(st.floats(-1, 1, width=32), max_size=200),
    st.builds(lambda value, rows: [value] * rows, st.floats(-1, 1, width=32), st.integers(0, 200)),
    st.lists(st.floats(-1, 1, width=32), max_size=200).map(lambda values: sorted(values, reverse=True)),
)
# Uids that share long prefixes, as an input's own uid column may hold.
uid_kinds = st.sampled_from(["hashed", "counted", "counted high"])
percents = st.lists(st.integers(1, 10_000).map(lambda hundredths: hundredths / 100), max_size=4)


def uids_of(kind: str, rows: int) -> list[str]:
    if kind == "hashed":
        return [hashlib.md5(str(row).encode()).hexdigest() for row in range(rows)]
    shift = 0 if kind == "counted" else 120
    return [f"{(row << shift if shift else row) % (1 << 128):032x}" for row in range(rows)][::-1]


def plan_for(options: SelectOptions, pieces: Iterable[Scored]) -> tuple[Plan, int]:
    """The finished plan, and how many passes it took."""
    plan, passes, pieces = Plan(options), 0, list(pieces)
    while not plan.finished:
        histogram = thresholds.add(selection.count_rows(plan, rows) for rows in pieces)
        plan, passes = selection.advance(plan, histogram), passes + 1
    return plan, passes


def ranking(rows: Scored) -> np.ndarray:
    """Indices of the rows, the best first, ties to the smaller uid: numpy's own sort, nothing else."""
    return np.lexsort((np.array(rows.uids.to_pylist(), "S32"), -rows.similarity))


def scored(values: list[float], kind: str) -> Scored:
    uids = (
        uids_of(kind, len(values)) if kind != "counted high" or len(values) <= 256 else uids_of("hashed", len(values))
    )
    return Scored(pa.array(uids, pa.string()), np.array(values, np.float32))


@settings(max_examples=75, deadline=None)
@given(similarities, uid_kinds, percents)
def test_top_fractions_are_those_of_a_plain_sort(values: list[float], kind: str, fractions: list[float]) -> None:
    rows = scored(values, kind)
    plan, passes = plan_for(SelectOptions(fractions=tuple(fractions)), [rows])
    assert passes <= thresholds.QUALITY_DIGITS
    order = ranking(rows)
    for percent in fractions:
        wanted = order[: len(values) * round(percent * 100) // 10_000]
        assert np.array_equal(np.flatnonzero(selection.in_top(plan, rows, percent)), np.sort(wanted))


@settings(max_examples=50, deadline=None)
@given(similarities, uid_kinds, st.data())
def test_samples_are_exact_nested_and_in_equal_shares(values: list[float], kind: str, data: st.DataObject) -> None:
    rows = scored(values, kind)
    sizes = data.draw(st.lists(st.integers(1, len(values)), max_size=4)) if values else []
    plan, passes = plan_for(SelectOptions(fractions=(), sizes=tuple(sizes), seed=3), [rows])
    assert passes <= selection.MOST_PASSES
    order, uids = ranking(rows), rows.uids.to_pylist()
    before: set[int] = set()
    for size in sorted(sizes):
        members = set(np.flatnonzero(selection.in_sample(plan, rows, size)).tolist())
        assert len(members) == size and before <= members
        assert members == set(drawn_by_hand(order, uids, size, seed=3))
        before = members


def drawn_by_hand(order: np.ndarray, uids: list[str], size: int, seed: int) -> list[int]:
    """Twenty slices of the ranking, larger ones first; of each the rows of the smallest (hash, uid)."""
    drawn = []
    shares = [size // 20 + (stratum < size % 20) for stratum in range(20)]
    for stratum, share in zip(np.array_split(order, 20), shares, strict=True):
        by_hash = sorted(
            stratum.tolist(),
            key=lambda row: (hashlib.sha256(f"{seed}:{uids[row]}".encode()).digest()[:8], uids[row]),
        )
        drawn += by_hash[:share]
    return drawn


@settings(max_examples=50, deadline=None)
@given(similarities, percents)
def test_quantile_ranks_agree_with_the_cuts(values: list[float], fractions: list[float]) -> None:
    rows = scored(values, "hashed")
    plan, _ = plan_for(SelectOptions(fractions=tuple(fractions)), [rows])
    quantiles = selection.quantile_ranks(plan, rows)
    assert ((quantiles >= 0) & (quantiles < 1)).all()
    assert (np.diff(quantiles[ranking(rows)]) >= 0).all()
    for percent in fractions:
        border = thresholds.top_count(len(values), percent) / max(1, len(values))
        assert np.array_equal(quantiles < border, selection.in_top(plan, rows, percent))


def test_quantile_ranks_are_close_between_cuts() -> None:
    rows = scored(np.random.default_rng(0).normal(0.2, 0.08, 50_000).tolist(), "hashed")
    plan, passes = plan_for(SelectOptions(), [rows])
    exact = np.empty(50_000)
    exact[ranking(rows)] = np.arange(50_000) / 50_000
    assert np.abs(selection.quantile_ranks(plan, rows) - exact).max() < 0.002
    assert passes <= 3


@settings(max_examples=25, deadline=None)
@given(similarities, st.integers(1, 7), st.randoms(use_true_random=False))
def test_the_split_into_pieces_does_not_matter(values: list[float], pieces: int, random) -> None:
    rows = scored(values, "hashed")
    options = SelectOptions(fractions=(10, 33.33), sizes=(len(values),) if values else ())
    shuffled = list(range(len(values)))
    random.shuffle(shuffled)
    parts = (
        [Scored(rows.uids.take(pa.array(part)), rows.similarity[part]) for part in np.array_split(shuffled, pieces)]
        if values
        else []
    )
    whole, split = plan_for(options, [rows])[0], plan_for(options, parts)[0]
    assert (whole.quality, whole.drawing) == (split.quality, split.drawing)
    assert whole.bins is not None and split.bins is not None and np.array_equal(whole.bins, split.bins)


@given(st.lists(st.floats(-1, 1, width=32), min_size=2))
def test_descending_keys_reverse_the_order(values: list[float]) -> None:
    similarity = np.array(values, np.float32)
    keys = thresholds.descending_key(similarity).astype(np.int64)
    assert np.array_equal(np.sign(keys[:-1] - keys[1:]), np.sign(similarity[1:] - similarity[:-1]))


def test_both_zeros_have_one_key() -> None:
    keys = thresholds.descending_key(np.array([0.0, -0.0], np.float32))
    assert keys[0] == keys[1]


@given(st.integers(0, 10**11), st.integers(0, 10**11))
def test_shares_add_up_and_grow_with_the_total(a: int, b: int) -> None:
    small, large = (thresholds.equal_shares(total, 20) for total in sorted((a, b)))
    assert sum(small) == min(a, b) and max(small) - min(small) <= 1
    assert all(x <= y for x, y in zip(small, large, strict=True))


def test_top_counts_are_whole_number_arithmetic() -> None:
    # 0.29 * 100 is 28.999…: a product of floats loses a pair here.
    assert thresholds.top_count(100, 29) == 29
    assert thresholds.top_count(12_800_000_000, 33.33) == 4_266_240_000
    assert thresholds.top_count(3, 66.66) == 1 and thresholds.top_count(7, 100) == 7


def test_the_seeded_hash_is_sha256_of_seed_and_uid() -> None:
    uid = "0123456789abcdef" * 2
    expected = int.from_bytes(hashlib.sha256(f"7:{uid}".encode()).digest()[:8], "big")
    hashes = thresholds.hash_of([uid], 7)
    assert hashes.tolist() == [expected]
    assert thresholds.unit_interval(hashes)[0] == pytest.approx(expected / 2**64, abs=2**-52)
    assert thresholds.unit_interval(np.array([2**64 - 1], np.uint64))[0] < 1


def test_a_sample_larger_than_the_pool_is_refused_with_both_numbers() -> None:
    with pytest.raises(InputError, match="a sample of 10M pairs cannot be drawn from 3 eligible pairs"):
        plan_for(SelectOptions(sizes=(2, 10_000_000)), [scored([0.1, 0.2, 0.3], "hashed")])


def test_a_uid_that_stands_twice_at_a_border_is_named() -> None:
    twice = Scored(pa.array(["ab" * 16] * 4), np.full(4, 0.5, np.float32))
    with pytest.raises(InputError, match=f"uid {'ab' * 16} stands twice"):
        plan_for(SelectOptions(fractions=(50,)), [twice])


def test_histograms_stay_small_whatever_the_rows() -> None:
    """20 strata and 10 samples at a pass: bounded by bins, not by rows."""
    options = SelectOptions(sizes=tuple(range(1_000, 11_000, 1_000)))
    plan, rows = Plan(options), scored(np.linspace(-1, 1, 60_000).tolist(), "hashed")
    while not plan.finished:
        histogram = selection.count_rows(plan, rows)
        assert len(histogram.codes) <= min(60_000, thresholds.DIGIT_BINS * 20 * len(options.sizes))
        plan = selection.advance(plan, histogram)
