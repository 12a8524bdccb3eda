from hypothesis import given
from hypothesis import strategies as st

from clipsieve.schemas.streams import batched


@given(st.lists(st.integers()), st.integers(1, 7))
def test_batches_are_the_slices(items, size):
    assert list(batched(items, size)) == [items[start : start + size] for start in range(0, len(items), size)]
