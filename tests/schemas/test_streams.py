from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from clipsieve.schemas.streams import batched, map_ahead


@given(st.lists(st.integers()), st.integers(1, 5))
def test_results_come_in_order_and_few_items_are_taken_ahead(items, ahead):
    taken = []

    def source():
        for item in items:
            taken.append(item)
            yield item

    with ThreadPoolExecutor(2) as pool:
        for done, result in enumerate(map_ahead(pool, lambda item: 2 * item, source(), ahead)):
            assert result == 2 * items[done]
            assert len(taken) <= done + ahead
    assert taken == items


@given(st.lists(st.integers()), st.integers(1, 7))
def test_batches_are_the_slices(items, size):
    assert list(batched(items, size)) == [items[start : start + size] for start in range(0, len(items), size)]
