"""The bytes of string columns against Python's own strings."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.schemas.text_buffers import fixed_text, text_bytes


@given(st.lists(st.text()), st.data(), st.sampled_from([pa.string(), pa.large_string()]))
def test_the_bytes_of_any_slice(values: list[str], data: st.DataObject, kind: pa.DataType) -> None:
    start = data.draw(st.integers(0, len(values)))
    length = data.draw(st.integers(0, len(values) - start))
    column = pa.array([value.encode("utf-8", "surrogatepass") for value in values], pa.binary()).view(pa.string())
    expected = "".join(values[start : start + length]).encode("utf-8", "surrogatepass")
    assert bytes(text_bytes(column.cast(kind).slice(start, length))) == expected


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_fixed_text_is_cut_into_values(rows: int) -> None:
    column = fixed_text(b"abcd" * rows, 4)
    column.validate(full=True)
    assert column.type == pa.string() and column.to_pylist() == ["abcd"] * rows
