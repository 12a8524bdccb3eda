from __future__ import annotations

import datetime
import decimal
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.pairs.types import TEXT, carry, common_type, is_rounding
from clipsieve.schemas.values import python_values

TENSOR = pa.fixed_shape_tensor(pa.int32(), [2])
DICTIONARY = pa.dictionary(pa.int32(), pa.string())

# What Parquet keeps and JSON has a form or a text for: (column, its values in Python).
KEPT = {
    "truth": pa.array([True, None]),
    "an integer": pa.array([2**63, None], pa.uint64()),
    "half a float": pa.array([1.5, None], pa.float16()),
    "a decimal": pa.array([decimal.Decimal("1.10"), None], pa.decimal128(38, 10)),
    "nothing": pa.nulls(2),
    "a dictionary": pa.array(["a", None]).dictionary_encode(),
    "bytes": pa.array([b"\xff\0", None]),
    "a list": pa.array([[1, None], None]),
    "a list of lists": pa.array([[[0.5]], None]),
    "a struct": pa.array([{"a": [1], "b": "c"}, None]),
    "a map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
    "a time in UTC": pa.array([1, None], pa.timestamp("us", "UTC")),
    "a time elsewhere": pa.array([1, None], pa.timestamp("ms", "+05:30")),
    "a time beyond the year 9999": pa.array([10**18, None], pa.timestamp("us")),
    "a day beyond the year 9999": pa.array([10**8, None], pa.date32()),
    "a duration": pa.array([1, None], pa.duration("ns")),
    "a duration beyond Python's": pa.array([2**62, None], pa.duration("s")),
}
# (column, the type that is nearest, its values)
CHANGED = {
    "a view of strings": (pa.array(["a", None], pa.string_view()), TEXT, ["a", None]),
    "a view of bytes": (pa.array([b"a", None], pa.binary_view()), pa.binary(), [b"a", None]),
    "a list of fixed size": (pa.array([[1, 2], None], pa.list_(pa.int64(), 2)), pa.list_(pa.int64()), [[1, 2], None]),
    "a dictionary of numbers": (pa.array([5, None]).dictionary_encode(), pa.int64(), [5, None]),
    "a time on Mars": (
        pa.array([1, None], pa.timestamp("us", "Mars/Phobos")),
        TEXT,
        ["1970-01-01 00:00:00.000001Z", None],
    ),
    "a list of times on Mars": (
        pa.array([[1], None], pa.list_(pa.timestamp("s", "Mars/Phobos"))),
        TEXT,
        ['["1970-01-01 00:00:01Z"]', None],
    ),
    "a struct of nothing": (pa.array([{}, None], pa.struct([])), TEXT, ["{}", None]),
    "a struct of one name twice": (
        pa.StructArray.from_arrays([pa.array([1, 2]), pa.array([3, 4])], ["a", "a"]),
        TEXT,
        ['[["a", 1], ["a", 3]]', '[["a", 2], ["a", 4]]'],
    ),
    "a UUID": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"x" * 16, None], pa.binary(16))),
        TEXT,
        ["78787878-7878-7878-7878-787878787878", None],
    ),
    "a byte of truth": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8())), TEXT, ["1", None]),
    "JSON": (pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}', None])), TEXT, ['{"a":1}', None]),
    "a tensor": (
        pa.ExtensionArray.from_storage(TENSOR, pa.array([[1, 2], None], pa.list_(pa.int32(), 2))),
        TEXT,
        ["[1, 2]", None],
    ),
    "a view of lists": (pa.array([[1], None], pa.list_view(pa.int64())), TEXT, ["[1]", None]),
    "a union": (
        pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]),
        TEXT,
        ["1", "b"],
    ),
    "an interval": (pa.array([(1, 2, 3), None], pa.month_day_nano_interval()), TEXT, ["[1, 2, 3]", None]),
    "run lengths": (pa.RunEndEncodedArray.from_arrays([2], ["a"]), TEXT, ["a", "a"]),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_parquet_and_json_carry_is_kept(name):
    column = KEPT[name]
    assert common_type([column.type]) == column.type
    assert carry(column, column.type) is column


@pytest.mark.parametrize("name", CHANGED)
def test_what_they_do_not_carry_is_the_nearest_type_or_text(name):
    column, nearest, values = CHANGED[name]
    assert common_type([column.type]) == nearest
    assert carry(column, nearest).to_pylist() == values


@pytest.mark.parametrize("name", [*KEPT, *CHANGED])
def test_whatever_passes_through_goes_into_parquet_and_json_and_comes_back(name):
    column = KEPT[name] if name in KEPT else CHANGED[name][0]
    dtype = common_type([column.type])
    assert dtype is not None
    carried = pa.table({"c": carry(column, dtype)}).take(pa.array([1, 0]))
    stream = io.BytesIO()
    pq.write_table(carried, stream)
    assert pq.read_table(stream)["c"].combine_chunks().equals(carried["c"].combine_chunks())
    json.dumps(python_values(carried["c"]), default=str)
    assert len(pa.nulls(3, dtype)) == 3  # of a part that lacks the column


COMMON = [
    ([pa.null(), pa.string()], pa.string()),
    ([pa.null(), pa.null()], pa.null()),
    ([pa.string(), pa.large_string()], pa.large_string()),
    ([pa.string(), pa.string_view()], pa.string()),
    ([DICTIONARY, pa.string()], pa.string()),
    ([DICTIONARY, pa.dictionary(pa.int8(), pa.large_string())], pa.large_string()),
    ([pa.binary(), pa.binary(4), pa.null()], pa.binary()),
    ([pa.binary(), pa.large_binary()], pa.large_binary()),
    ([pa.int32(), pa.int64()], pa.int64()),
    ([pa.int8(), pa.uint32()], pa.int64()),
    ([pa.uint8(), pa.uint64()], pa.uint64()),
    ([pa.int64(), pa.uint64()], TEXT),
    ([pa.int64(), pa.float64()], pa.float64()),
    ([pa.int16(), pa.float32()], pa.float64()),
    ([pa.float16(), pa.float32()], pa.float64()),
    ([pa.decimal128(10, 2), pa.decimal128(12, 4)], TEXT),
    ([pa.decimal128(10, 2), pa.int64(), pa.float64()], TEXT),
    ([pa.timestamp("us"), pa.timestamp("ns")], TEXT),
    ([pa.timestamp("us", "UTC"), pa.date32()], TEXT),
    ([pa.list_(pa.null()), pa.list_(pa.string())], pa.list_(pa.string())),
    ([pa.list_(pa.int64()), pa.large_list(pa.float32())], pa.list_(pa.float64())),
    ([pa.list_(pa.int64(), 4), pa.list_(pa.int64())], pa.list_(pa.int64())),
    ([pa.list_(pa.date32()), pa.list_(pa.timestamp("s"))], TEXT),
    ([pa.list_(pa.int64()), pa.list_(pa.string())], TEXT),
    ([pa.struct({"a": pa.int64()}), pa.struct({"a": pa.int32()})], TEXT),
    ([pa.uuid(), pa.binary(16)], pa.binary(16)),
]


@pytest.mark.parametrize(("dtypes", "common"), COMMON, ids=str)
def test_unlike_types_of_one_kind_have_one_type(dtypes, common):
    assert common_type(dtypes) == common
    assert common_type(dtypes[::-1]) == common
    for dtype in dtypes:
        assert carry(pa.nulls(2, dtype), common).to_pylist() == [None, None]


@pytest.mark.parametrize(
    "dtypes",
    [
        [pa.int64(), pa.string()],
        [pa.bool_(), pa.int8()],
        [pa.string(), pa.binary()],
        [pa.list_(pa.int64()), pa.int64()],
        [pa.timestamp("us"), pa.string()],
        [pa.null(), pa.struct({"a": pa.int64()}), pa.float64()],
    ],
    ids=str,
)
def test_types_of_unlike_kinds_have_none(dtypes):
    assert common_type(dtypes) is None


scalars = st.sampled_from(
    [
        (pa.int8(), 5),
        (pa.uint32(), 7),
        (pa.int64(), -(2**40)),
        (pa.float32(), 0.5),
        (pa.float64(), 0.1),
        (pa.null(), None),
        (pa.uint64(), 2**63),
        (pa.decimal128(5, 2), decimal.Decimal("1.25")),
    ]
)


@given(st.lists(scalars, min_size=1, max_size=4))
def test_numbers_of_any_types_keep_their_values(cells):
    dtype = common_type([dtype for dtype, _ in cells])
    assert dtype is not None
    if any(is_rounding(own, dtype) for own, _ in cells):
        dtype = TEXT  # as where no footer says that none is rounded
    for own, value in cells:
        (carried,) = carry(pa.array([value], own), dtype).to_pylist()
        exact = None if value is None else decimal.Decimal(str(value))
        assert (carried is None and value is None) or decimal.Decimal(str(carried)) == exact


def test_times_of_unlike_units_are_their_text():
    days = pa.array([datetime.date(2020, 2, 29)])
    assert carry(days, TEXT).to_pylist() == ["2020-02-29"]
    assert carry(pa.array([1], pa.timestamp("ns")), TEXT).to_pylist() == ["1970-01-01 00:00:00.000000001"]
