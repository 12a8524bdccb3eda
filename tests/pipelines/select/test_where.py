"""Conditions on columns, against Python and pandas."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.select.where import parse_where
from clipsieve.schemas.errors import InputError

ROWS = pa.record_batch(
    {
        "width": pa.array([100, 200, None, 400], pa.int32()),
        "height": pa.array([300, 100, 300, 400], pa.int64()),
        "language": pa.array(["en", "de", None, "fr"]),
        "score": pa.array([0.1, 0.7, 0.3, None], pa.float32()),
        "safe": pa.array([True, None, False, True]),
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width >= 200", [0, 1, 0, 1]),
        ("200 <= width", [0, 1, 0, 1]),
        ("100 < width <= 400", [0, 1, 0, 1]),
        ("width < height", [1, 0, 0, 0]),
        ("not width >= 200", [1, 0, 0, 0]),  # a missing width is neither
        ("width >= 200 or height == 300", [1, 1, 1, 1]),
        ("width >= 200 and language == 'fr'", [0, 0, 0, 1]),
        ("not (width >= 200 and language == 'fr')", [1, 1, 0, 0]),
        ("language in ['en', 'de']", [1, 1, 0, 0]),
        ("language not in ('en', 'de')", [0, 0, 0, 1]),
        ("width in [100, 400]", [1, 0, 0, 1]),
        ("language is None or score is not None", [1, 1, 1, 0]),
        ("score >= 0.7", [0, 1, 0, 0]),  # float32's 0.7 is below Python's
        ("score == 0.1", [1, 0, 0, 0]),
        ("score > -1", [1, 1, 1, 0]),
        ("safe", [1, 0, 0, 1]),
        ("not safe", [0, 0, 1, 0]),
        ("safe == True", [1, 0, 0, 1]),
        ("", [1, 1, 1, 1]),
    ],
)
def test_conditions_hold_as_in_sql(text: str, expected: list[int]) -> None:
    assert parse_where(text).holds(ROWS, "a.parquet").tolist() == [bool(value) for value in expected]


@given(
    st.recursive(
        st.builds(
            "{} {} {}".format,
            st.sampled_from("ab"),
            st.sampled_from(["<", "<=", "==", "!=", ">", ">="]),
            st.integers(-3, 3),
        ),
        lambda inner: (
            st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
            | st.builds("(not {})".format, inner)
        ),
        max_leaves=8,
    )
)
def test_without_missing_values_a_condition_is_pythons(text: str) -> None:
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(-4, 5), np.arange(-4, 5)))
    holds = parse_where(text).holds(pa.record_batch({"a": a, "b": b}), "a.parquet")
    assert holds.tolist() == [eval(text, {"a": x, "b": y}) for x, y in zip(a.tolist(), b.tolist(), strict=True)]


def test_the_columns_that_a_condition_names() -> None:
    assert set(parse_where("b > 1 and a == b or not c in [1]").columns) == {"a", "b", "c"}
    assert parse_where("").columns == ()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "a.b > 1",
        "a + 1 > 2",
        "(lambda: a)()",
        "[x for x in a]",
        "a[0] == 1",
        "f'{a}' == 'b'",
        "a := 1",
        "a = 1",
        "a >",
        "1 < 2",
        "a\0",
    ],
)
def test_anything_else_is_refused_unread(text: str) -> None:
    with pytest.raises(InputError, match="`where`: "):
        parse_where(text)


@pytest.mark.parametrize("text", ["language > 3", "width", "not width", "1 < 2 < width", "width in 3", "width == [1]"])
def test_a_condition_that_does_not_suit_its_columns_is_named_with_the_file(text: str) -> None:
    with pytest.raises(InputError, match=r"a\.parquet: `where` '.*' does not suit its columns"):
        parse_where(text).holds(ROWS, "a.parquet")
