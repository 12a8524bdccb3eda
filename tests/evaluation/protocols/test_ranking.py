from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from clipsieve.evaluation.protocols.ranking import hit_rate, rank_of, score_chunks

pytestmark = pytest.mark.numeric


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_rank_is_the_place_in_a_stable_descending_sort(data):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 8)))
    scores = data.draw(arrays.arrays(np.float32, shape, elements=st.sampled_from([-1, -0.0, 0.0, 0.5, 1])))
    targets = data.draw(arrays.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    order = np.argsort(-scores, axis=1, kind="stable")
    places = [list(row).index(target) for row, target in zip(order, targets, strict=True)]
    assert rank_of(scores, targets).tolist() == places


def test_chunks_cover_every_query_once_and_equal_one_product():
    generator = np.random.default_rng(0)
    queries = generator.normal(size=(3_000, 4)).astype(np.float32)
    candidates = generator.normal(size=(3_001, 4)).astype(np.float32)
    chunks = list(score_chunks(queries, candidates))
    assert len(chunks) == 2
    assert [row for chunk, _ in chunks for row in range(chunk.start, chunk.stop)] == list(range(3_000))
    np.testing.assert_allclose(np.concatenate([s for _, s in chunks]), queries @ candidates.T, atol=1e-5)


def test_equal_candidates_tie_wherever_they_stand():
    generator = np.random.default_rng(0)
    queries = generator.normal(size=(50, 512)).astype(np.float32)
    once = generator.normal(size=(33, 512)).astype(np.float32)
    for _, scores in score_chunks(queries, np.concatenate([once, once, once])):
        assert np.array_equal(scores[:, :33], scores[:, 33:66])
        assert np.array_equal(scores[:, :33], scores[:, 66:])


def test_hit_rate_counts_ranks_from_zero():
    ranks = np.array([0, 1, 4, 5])
    assert [hit_rate(ranks, k) for k in (1, 5, 10)] == [0.25, 0.75, 1.0]
