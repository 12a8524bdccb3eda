"""Cuts, samples and quantiles against a plain sort of the whole table."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.select import plan as selection
from clipsieve.pipelines.select import thresholds
from clipsieve.pipelines.select.plan import SelectionPlan
from clipsieve.pipelines.select.scored import Scored
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import SelectOptions
from clipsieve.schemas.uid import uid_bytes

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.25, 0.28, -0.1, 1e-38, -1e-38, 1e-45, float(np.float32(0.1))]
similarities = st.one_of(
    st.lists(st.sampled_from(SPECIAL), max_size=200),
    st.lists(st.floats(-1, 1, width=16), max_size=200),
    st.lists(st.floats(-1, 1, width=32), max_size=200),
    st.builds(lambda value, rows: [value] * rows, st.floats(-1, 1, width=32), st.integers(0, 200)),
    st.lists(st.floats(-1, 1, width=32), max_size=200).map(sorted),
    st.lists(st.floats(-1, 1, width=32), max_size=200).map(lambda values: sorted(values, reverse=True)),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=200),
)
# Uids that share long prefixes, as an input's own uid column may hold.
uid_kinds = st.sampled_from(["hashed", "counted", "counted high"])
percents = st.lists(st.integers(1, 10_000).map(lambda hundredths: hundredths / 100), max_size=4)


def uids_of(kind: str, rows: int) -> list[str]:
    if kind == "hashed":
        return [hashlib.md5(str(row).encode()).hexdigest() for row in range(rows)]
    shift = 0 if kind == "counted" else 120
    return [f"{(row << shift if shift else row) % (1 << 128):032x}" for row in range(rows)][::-1]


def plan_for(options: SelectOptions, pieces: Iterable[Scored]) -> tuple[SelectionPlan, int]:
    """The finished plan, and how many passes it took; where it needs no uids it is given none."""
    plan, passes, pieces = SelectionPlan(options), 0, list(pieces)
    nameless = [replace(rows, uids=pa.nulls(len(rows.uids), pa.string())) for rows in pieces]
    while not plan.finished:
        given_rows = pieces if plan.needs_uids else nameless
        histogram = thresholds.add(selection.count_rows(plan, rows) for rows in given_rows)
        plan, passes = selection.advance(plan, histogram), passes + 1
    return plan, passes


def ranking(rows: Scored) -> np.ndarray:
    """Indices of the rows, the best first, ties to the smaller uid: numpy's own sort, nothing else."""
    return np.lexsort((np.array(rows.uids.to_pylist(), "S32"), -rows.similarity))


def scored(values: Sequence[float] | np.ndarray, kind: str) -> Scored:
    uids = uids_of("hashed" if kind == "counted high" and len(values) > 256 else kind, len(values))
    return as_scored(pa.array(uids, pa.string()), np.array(values, np.float32))


def as_scored(uids: pa.Array, similarity: np.ndarray) -> Scored:
    none = pa.nulls(len(uids), pa.string())
    return Scored(uids, similarity, none, none)


def members_of(plan: SelectionPlan, rows: Scored) -> dict[str, np.ndarray]:
    """By its name, the rows of each subset and sample, from the two ranks of the selection table."""
    ranks = selection.quantile_ranks(plan, rows) if len(rows.similarity) else np.zeros(0)
    drawn = thresholds.unit_interval(thresholds.hash_of(rows.raw_uids, plan.options.seed))
    subsets = selection.subsets_of(plan.options)
    return {subset.name: np.flatnonzero(selection.members(plan, subset, ranks, drawn)) for subset in subsets}


@settings(max_examples=100, deadline=None)
@given(similarities, uid_kinds, percents)
def test_top_fractions_are_those_of_a_plain_sort(values: list[float], kind: str, fractions: list[float]) -> None:
    rows = scored(values, kind)
    options = SelectOptions(fractions=tuple(fractions))
    plan, passes = plan_for(options, [rows])
    assert passes <= selection.most_scans(options)
    order = ranking(rows)
    for name, members in members_of(plan, rows).items():
        wanted = order[: len(values) * round(float(name.removeprefix("top")) * 100) // 10_000]
        assert np.array_equal(members, np.sort(wanted))


@settings(max_examples=75, deadline=None)
@given(similarities, uid_kinds, st.data())
def test_samples_are_exact_nested_and_in_equal_shares(values: list[float], kind: str, data: st.DataObject) -> None:
    """Of all pairs and, as combinations, of the best 40 and 77.77 per cent."""
    rows = scored(values, kind)
    pools = {percent: thresholds.top_count(len(values), percent) for percent in (40.0, 77.77, 100.0)}
    sizes = {
        percent: data.draw(st.lists(st.integers(1, pool), max_size=3)) if pool else []
        for percent, pool in pools.items()
    }
    combined = tuple(f"top{percent:g}_{size}" for percent in (40, 77.77) for size in sizes[percent])
    options = SelectOptions(fractions=(), sizes=tuple(sizes[100]), combinations=combined, seed=3)
    plan, passes = plan_for(options, [rows])
    assert passes <= selection.most_scans(options)
    order, members = ranking(rows), members_of(plan, rows)
    for percent, pool in pools.items():
        before: set[int] = set()
        for size in sorted(sizes[percent]):
            drawn = set(members[str(size) if percent == 100 else f"top{percent:g}_{size}"].tolist())
            assert len(drawn) == size and before <= drawn
            assert drawn == set(drawn_by_hand(order[:pool], rows.uids.to_pylist(), size, seed=3))
            before = drawn


def drawn_by_hand(order: np.ndarray, uids: list[str], size: int, seed: int) -> list[int]:
    """Twenty slices of the ranking, larger ones first; of each the rows of the smallest hash."""
    drawn = []
    shares = [size // 20 + (stratum < size % 20) for stratum in range(20)]
    for stratum, share in zip(np.array_split(order, 20), shares, strict=True):
        drawn += sorted(stratum.tolist(), key=lambda row: hash_by_hand(uids[row], seed))[:share]
    return drawn


def hash_by_hand(uid: str, seed: int) -> int:
    """SplitMix64 of the seed and the uid's halves in Python's integers, without its 11 lowest bits."""
    state = 0
    for half in (seed, int(uid[:16], 16), int(uid[16:], 16)):
        state = splitmix64(state ^ half)
    return state >> 11 << 11


def splitmix64(state: int) -> int:
    mask = (1 << 64) - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


@settings(max_examples=50, deadline=None)
@given(similarities, percents)
def test_quantile_ranks_agree_with_the_cuts(values: list[float], fractions: list[float]) -> None:
    rows = scored(values, "hashed")
    plan, _ = plan_for(SelectOptions(fractions=tuple(fractions)), [rows])
    quantiles = selection.quantile_ranks(plan, rows)
    assert ((quantiles >= 0) & (quantiles < 1)).all()
    assert (np.diff(quantiles[ranking(rows)]) >= 0).all()
    place = np.empty(len(values))
    place[ranking(rows)] = np.arange(len(values))
    for percent in fractions:
        pairs = thresholds.top_count(len(values), percent)
        assert np.array_equal(quantiles < pairs / max(1, len(values)), place < pairs)


def test_quantile_ranks_are_close_between_cuts() -> None:
    rows = scored(np.random.default_rng(0).normal(0.2, 0.08, 50_000), "hashed")
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
        [as_scored(rows.uids.take(pa.array(part)), rows.similarity[part]) for part in np.array_split(shuffled, pieces)]
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
    # 0.29 * 100 is 28.999…, and 10,000 * 0.57 / 100 is 56.999…: a product of floats loses a pair here.
    assert thresholds.top_count(100, 29) == 29
    assert thresholds.top_count(10_000, 0.57) == 57
    assert thresholds.top_count(12_800_000_000, 33.33) == 4_266_240_000
    assert thresholds.top_count(3, 66.66) == 1 and thresholds.top_count(7, 100) == 7


def test_every_hundredth_of_a_percent_of_ten_thousand_rows_is_a_row() -> None:
    counts = [thresholds.top_count(10_000, hundredths / 100) for hundredths in range(10_001)]
    assert counts == list(range(10_001))


@given(st.integers(0, 10**10) | st.integers(0, 10**6).map(lambda shards: 10_000 * shards), st.integers(1, 10_000))
def test_top_counts_are_those_of_exact_fractions(rows: int, hundredths: int) -> None:
    exact = rows * Fraction(hundredths, 10_000)
    assert thresholds.top_count(rows, hundredths / 100) == math.floor(exact)


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**70))
def test_the_seeded_hash_is_splitmix64_of_seed_and_uid(uid: bytes, seed: int) -> None:
    hashes = thresholds.hash_of(np.frombuffer(uid, np.uint8).reshape(1, 16), seed)
    assert hashes.tolist() == [hash_by_hand(uid.hex(), seed % 2**64)]
    (place,) = thresholds.unit_interval(hashes)
    assert 0 <= place < 1 and place * 2**64 == hashes[0]


def test_the_published_first_outputs_of_splitmix64() -> None:
    """From its seed 1234567, as the reference implementation prints them."""
    state, outputs = 1234567, []
    for _ in range(3):
        outputs.append(splitmix64(state))
        state = (state + 0x9E3779B97F4A7C15) % 2**64
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_seeded_hashes_of_counted_uids_are_even() -> None:
    """Uids that differ in their last digits alone fall evenly into [0, 1), and two seeds' orders are unlike."""
    raw = uid_bytes(pa.array([f"{row:032x}" for row in range(100_000)]))
    first, second = (thresholds.unit_interval(thresholds.hash_of(raw, seed)) for seed in (0, 1))
    counts = np.bincount((first * 100).astype(int), minlength=100)
    assert ((counts - 1_000) ** 2 / 1_000).sum() < 150  # chi-square of 99 degrees of freedom: p = 0.0007
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.01


def test_a_border_is_asked_for_when_it_is_known() -> None:
    digits = np.array([[1, 2], [1, 3], [4, 0]], np.uint16)
    (cut,) = thresholds.advance([thresholds.new_cut(0, 1)], thresholds.count(digits, None, [thresholds.new_cut(0, 1)]))
    assert cut.missing == 1 and cut.digits == (1,)  # two rows begin with 1
    for unknown in (cut, thresholds.new_cut(0, 0)):
        with pytest.raises(ValueError, match="a cut has no border before it is resolved, nor one that takes nothing"):
            thresholds.borders([unknown], 2)
    cuts = thresholds.advance([cut], thresholds.count(digits, None, [cut]))
    assert thresholds.borders(cuts, 3).tolist() == [[1, 2, 65_535]]
    assert len(thresholds.count(digits, None, cuts).codes) == 0  # nothing is left to be counted


def test_rows_that_are_gone_in_a_later_pass_are_missed() -> None:
    """Also where the next bin has enough of them."""
    cuts = [thresholds.new_cut(0, 5), thresholds.new_cut(1, 5)]
    groups = np.array([0] * 3 + [1] * 9)
    histogram = thresholds.count(np.zeros((12, 1), np.uint16), groups, cuts)
    with pytest.raises(ValueError, match="cut at rank 5: only 3 rows in its bin"):
        thresholds.advance(cuts, histogram)
    with pytest.raises(ValueError, match="cut at rank 5: only 0 rows in its bin"):
        thresholds.advance(cuts, thresholds.EMPTY)


def test_a_sample_larger_than_the_pool_is_refused_with_both_numbers() -> None:
    with pytest.raises(InputError, match="a sample of 10M pairs cannot be drawn from 3 eligible pairs"):
        plan_for(SelectOptions(sizes=(2, 10_000_000)), [scored([0.1, 0.2, 0.3], "hashed")])


def test_a_uid_that_stands_twice_at_a_border_is_named() -> None:
    uid = "0123456789abcdef00112233445566ff"
    twice = as_scored(pa.array([uid] * 4), np.full(4, 0.5, np.float32))
    with pytest.raises(InputError, match=f"uid {uid} is duplicated"):
        plan_for(SelectOptions(fractions=(50,)), [twice])


def uid_of_hash(wanted: int, upper: int, seed: int) -> str:
    """The uid with the 64 bits ``upper`` whose hash is ``wanted`` before its lowest bits are cut off."""
    lower = splitmix64_inverse(wanted) ^ splitmix64(splitmix64(seed) ^ upper)
    return f"{upper:016x}{lower:016x}"


def splitmix64_inverse(output: int) -> int:
    size = 1 << 64
    state = output ^ (output >> 31) ^ (output >> 62)
    state = state * pow(0x94D049BB133111EB, -1, size) % size
    state ^= (state >> 27) ^ (state >> 54)
    state = state * pow(0xBF58476D1CE4E5B9, -1, size) % size
    state ^= (state >> 30) ^ (state >> 60)
    return (state - 0x9E3779B97F4A7C15) % size


@pytest.mark.parametrize(("apart", "is_refused"), [(0, True), (1 << 10, True), (1 << 11, False)])
def test_one_hash_at_the_border_of_a_sample_is_refused(apart: int, is_refused: bool) -> None:
    """Of the two best of forty pairs, the first stratum, one is drawn; the bits below the 53 do not count."""
    seed, wanted = 5, 0x0123_4567_89AB_0000
    pair = [uid_of_hash(wanted, 1, seed), uid_of_hash(wanted + apart, 2, seed)]
    rows = as_scored(pa.array([*pair, *uids_of("hashed", 38)]), np.linspace(1, 0, 40, dtype=np.float32))
    options = SelectOptions(fractions=(), sizes=(20,), seed=seed)
    if is_refused:
        with pytest.raises(InputError, match="seed"):
            plan_for(options, [rows])
    else:
        drawn = members_of(plan_for(options, [rows])[0], rows)["20"]
        assert len(drawn) == 20 and drawn[0] == 0 and drawn[1] > 1


def test_passes_are_the_digits_of_the_keys() -> None:
    assert selection.most_scans(SelectOptions(fractions=(20,))) == 10
    assert selection.most_scans(SelectOptions(sizes=(20,))) == 14
    assert selection.most_scans(SelectOptions(combinations=("top20_20",))) == 14


def test_histograms_stay_small_whatever_the_rows() -> None:
    """20 strata and 10 samples at a pass: bounded by bins, not by rows."""
    options = SelectOptions(sizes=tuple(range(1_000, 11_000, 1_000)))
    plan, rows = SelectionPlan(options), scored(np.linspace(-1, 1, 60_000), "hashed")
    while not plan.finished:
        histogram = selection.count_rows(plan, rows)
        assert len(histogram.codes) <= min(60_000, thresholds.DIGIT_BINS * 20 * len(options.sizes))
        plan = selection.advance(plan, histogram)
