from __future__ import annotations

import pyarrow as pa
import pytest

from clipsieve.schemas.values import as_json, python_rows, python_values


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([0, 10**18], pa.timestamp("us")), [None, "1000000000000000000"]),
        (pa.array([0, 10**8], pa.date32()), [None, "100000000"]),
        (pa.array([0, 2**62], pa.duration("s")), [None, str(2**62)]),
        (pa.array([0, 1], pa.timestamp("s", "Mars/Phobos")), ["1970-01-01 00:00:00Z", "1970-01-01 00:00:01Z"]),
        (pa.array([[0], [10**8]], pa.list_(pa.date32())), [None, "100000000"]),
        (pa.array([{"a": 0}, {"a": 10**8}], pa.struct({"a": pa.date32()})), [None, "100000000"]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_a_value_that_python_has_no_object_for_is_its_text_and_no_other_is_changed(column, values):
    got = python_values(column)
    for place, expected in enumerate(values):
        if expected is None:
            assert got[place] == column[place].as_py()
        else:
            assert expected in str(got[place])


def test_a_column_within_pythons_range_is_that_of_arrow():
    table = pa.table({"a": [1, None], "b": [["x"], []], "c": pa.array([0, None], pa.timestamp("ns", "UTC"))})
    assert python_rows(table) == table.to_pylist()
    assert python_rows(table.slice(0, 0)) == []


@pytest.mark.parametrize(
    ("value", "text"), [(b"\xff\0", "ff00"), (b"", ""), (pa.scalar(5), "5"), ({1}, "{1}"), (1j, "1j")]
)
def test_a_value_without_json_is_text(value, text):
    assert as_json(value) == text
