from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.uid import uid_of
from tests.pipelines.pairs.test_table import read, write


def parts(folder, *tables):
    pairs = {"url": ["u"], "caption": ["c"]}
    return [write(folder / f"{number}.parquet", {**pairs, **table}) for number, table in enumerate(tables)]


# As pandas, polars and Spark leave the parts of a table: (the column in each, its type in the whole, its values).
UNLIKE: dict[str, tuple[Any, ...]] = {
    "nothing, then words": (pa.nulls(1), pa.array(["cc0"]), pa.string(), [None, "cc0"]),
    "words, then long words": (pa.array(["a"]), pa.array(["b"], pa.large_string()), pa.large_string(), ["a", "b"]),
    "categories, then words": (pa.array(["en"]).dictionary_encode(), pa.array(["fr"]), pa.string(), ["en", "fr"]),
    "numbers, then none as NaN": (pa.array([640]), pa.array([None], pa.float64()), pa.float64(), [640.0, None]),
    "small numbers, then large": (pa.array([1], pa.int16()), pa.array([2**40]), pa.int64(), [1, 2**40]),
    "boxes, then boxes of integers": (
        pa.array([[[0.5, 1.0]]]),
        pa.array([[[0, 1]]]),
        pa.list_(pa.list_(pa.float64())),
        [[[0.5, 1.0]], [[0.0, 1.0]]],
    ),
    "nanoseconds, then microseconds": (
        pa.array([1], pa.timestamp("ns")),
        pa.array([1], pa.timestamp("us")),
        pa.string(),
        ["1970-01-01 00:00:00.000000001", "1970-01-01 00:00:00.000001"],
    ),
    "numbers too large for a float": (pa.array([2**53 + 1]), pa.array([0.5]), pa.string(), [str(2**53 + 1), "0.5"]),
    "bytes of one width, then another": (
        pa.array([b"ab"], pa.binary(2)),
        pa.array([b"abc"], pa.binary(3)),
        pa.binary(),
        [b"ab", b"abc"],
    ),
}


@pytest.mark.parametrize("name", UNLIKE)
@pytest.mark.parametrize("order", [1, -1])
def test_a_column_of_unlike_types_is_one(tmp_path, name, order):
    *columns, dtype, values = UNLIKE[name]
    rows = read(parts(tmp_path, *({"n": column} for column in columns[::order])))
    assert rows["n"].type == dtype
    assert rows["n"].to_pylist() == values[::order]


def test_parts_are_one_by_name_whatever_their_order_and_nullability(tmp_path):
    first = write(tmp_path / "a.parquet", {"url": ["u"], "TEXT": ["c"], "n": [1]})
    schema = pa.schema([pa.field("n", pa.int64(), nullable=False), ("TEXT", pa.string()), ("url", pa.large_string())])
    second = write(tmp_path / "b.parquet", pa.table({"n": [2], "TEXT": ["d"], "url": ["v"]}, schema))
    rows = read([first, second])
    assert rows.to_pylist() == [
        {"uid": uid_of("u", "c"), "url": "u", "caption": "c", "n": 1},
        {"uid": uid_of("v", "d"), "url": "v", "caption": "d", "n": 2},
    ]


def test_a_column_that_some_parts_lack_is_null_there(tmp_path):
    paths = parts(tmp_path, {}, {"n": [5], "width": [7]}, {"m": pa.array([["x"]])})
    rows = read(paths)
    assert rows.column_names == ["uid", "url", "caption", "n", "source_width", "m"]
    assert rows["n"].to_pylist() == [None, 5, None]
    assert rows["source_width"].to_pylist() == [None, 7, None]
    assert rows["m"].to_pylist() == [None, None, ["x"]]


def test_uids_and_captions_may_have_another_type_in_each_part(tmp_path):
    raw = bytes(range(16))
    columns = [
        {"uid": [raw.hex()], "caption": ["a"]},
        {"uid": pa.array([raw], pa.binary(16)), "caption": pa.array(["a"], pa.large_string())},
        {"uid": pa.array([raw]), "caption": pa.array(["a"]).dictionary_encode()},
        {"uid": pa.array([raw.hex()], pa.string_view()), "caption": [b"a"]},
        {"uid": [raw.hex()], "caption": pa.nulls(1)},
        {"uid": [raw.hex()], "caption": pa.array([float("nan")])},
    ]
    rows = read(parts(tmp_path, *columns))
    assert rows["uid"].to_pylist() == [raw.hex()] * 6
    assert rows["caption"].to_pylist() == ["a", "a", "a", "a", "", ""]


def test_boxes_must_be_boxes_in_the_whole_table(tmp_path):
    exact = parts(tmp_path, {"faces": pa.array([[[0, 0, 1, 1]]])}, {"faces": [[[0.5] * 4]]}, {"faces": pa.nulls(1)})
    assert read(exact, boxes="faces")["faces"].to_pylist() == [[[0.0, 0.0, 1.0, 1.0]], [[0.5] * 4], None]
    inexact = parts(tmp_path, {"faces": pa.array([[[2**60]]])}, {"faces": [[[0.5] * 4]]})
    with pytest.raises(InputError, match="`bbox_col` 'faces' is string, not a list of lists of numbers"):
        read(inexact, boxes="faces")


def test_hashes_that_some_parts_lack_are_not_verified_there(tmp_path):
    paths = parts(tmp_path, {"sha256": ["ab" * 32]}, {}, {"sha256": pa.nulls(1)})
    assert read(paths, sha256=True)["source_sha256"].to_pylist() == ["ab" * 32, None, None]
    paths = parts(tmp_path, {"sha256": ["ab" * 32]}, {"sha256": ["short"]})
    with pytest.raises(InputError, match=r"1\.parquet: row 1: sha256 'short' is not 64 hex digits"):
        read(paths, sha256=True)


@pytest.mark.parametrize(
    ("column", "tables"),
    [
        ("url", [{"url": ["u"], "caption": ["c"]}, {"URL": ["u"], "caption": ["c"]}]),
        ("caption", [{"url": ["u"], "caption": ["c"]}, {"url": ["u"], "text": ["c"]}]),
        ("caption", [{"url": ["u"]}, {"url": ["u"], "caption": ["c"]}]),
        ("uid", [{"url": ["u"], "caption": ["c"], "uid": ["0" * 32]}, {"url": ["u"], "caption": ["c"]}]),
        ("faces", [{"url": ["u"], "caption": ["c"], "faces": [[[0.5]]]}, {"url": ["u"], "caption": ["c"]}]),
    ],
)
def test_what_every_part_must_have_is_named_with_both_files(tmp_path, column, tables):
    paths = [write(tmp_path / f"{number}.parquet", table) for number, table in enumerate(tables)]
    lacking = next(number for number, table in enumerate(tables) if column not in table)
    wanted = rf"{lacking}\.parquet: column '{column}' of .*{1 - lacking}\.parquet is missing; it has: "
    with pytest.raises(InputError, match=wanted):
        read(paths, boxes="faces" if column == "faces" else None)


@pytest.mark.parametrize(
    ("one", "other", "types"),
    [
        (pa.array([1]), pa.array(["1"]), ("string", "int64")),
        (pa.array([True]), pa.array([1.5]), ("double", "bool")),
        (pa.array(["a"]), pa.array([b"a"]), ("binary", "string")),
        (pa.array([[1]]), pa.array([1]), ("int64", "list<element: int64>")),
        (pa.array([{"a": 1}]), pa.array(["a"]), ("string", "struct<a: int64>")),
        (pa.array([1], pa.date32()), pa.array([1]), ("int64", r"date32\[day\]")),
    ],
)
def test_types_of_unlike_kinds_are_named_with_both_files(tmp_path, one, other, types):
    paths = parts(tmp_path, {"n": pa.nulls(1)}, {"n": one}, {"n": other})
    wanted = (
        rf"2\.parquet: column 'n' is {types[0]}, but {types[1]} in .*1\.parquet; cast it in one of them, or drop it"
    )
    with pytest.raises(InputError, match=wanted) as error:
        read(paths)
    assert "\n" not in str(error.value)


numbers = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4)
reals = st.lists(st.none() | st.floats(allow_nan=False, width=32), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(numbers, reals, st.booleans())
def test_no_digit_of_a_number_is_lost(tmp_path_factory, integers, floats, with_statistics):
    folder = tmp_path_factory.mktemp("parts")
    paths = []
    for name, column in (("a", pa.array(integers, pa.int64())), ("b", pa.array(floats, pa.float64()))):
        pairs = {"url": ["u"] * len(column), "caption": ["c"] * len(column), "n": column}
        paths.append(str(folder / f"{name}.parquet"))
        pq.write_table(pa.table(pairs), paths[-1], row_group_size=2, write_statistics=with_statistics)
    got = read(paths)["n"].to_pylist()
    for value, kept in zip([*integers, *floats], got, strict=True):
        assert kept is None if value is None else type(value)(kept) == value
