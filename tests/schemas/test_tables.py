import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.schemas import tables
from clipsieve.schemas.errors import InputError

ROW = {"uid": "0" * 32, "similarity": 0.25, "quantile_rank": 0.5}


def write(path, **columns):
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_every_column_of_every_table_says_what_it_is():
    for table in (tables.PAIRS, tables.SHARDS, tables.SCORES, tables.SELECTION, tables.SUBSET):
        assert all(table.describe().values())


def test_own_columns_come_first_in_their_types_and_others_pass_through(tmp_path):
    path = write(tmp_path / "a.parquet", extra=[7], quantile_rank=[0.5], similarity=[0.25], uid=["0" * 32])
    table = tables.read_table(path, tables.SUBSET)
    assert table.column_names == ["uid", "similarity", "quantile_rank", "extra"]
    assert table.schema.field("similarity").type == pa.float32()
    assert table.to_pylist() == [{**ROW, "extra": 7}]


def test_a_missing_column_is_refused_by_file_and_name(tmp_path):
    path = write(tmp_path / "a.parquet", uid=["0" * 32])
    with pytest.raises(InputError, match=r"a\.parquet: column 'similarity', 'quantile_rank' is missing"):
        tables.read_table(path, tables.SUBSET)


def test_a_column_of_another_type_is_refused_by_file_and_name(tmp_path):
    path = write(tmp_path / "a.parquet", uid=["0" * 32], similarity=["high"], quantile_rank=[0.1])
    with pytest.raises(InputError, match=r"a\.parquet: column 'similarity' cannot be read as float"):
        tables.read_table(path, tables.SUBSET)


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "missing"])
def test_a_file_that_is_no_parquet_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "a.parquet"
    if damage == "truncated":
        write(path, uid=["0" * 32] * 1000)
        path.write_bytes(path.read_bytes()[:-50])
    elif damage != "missing":
        path.write_bytes(b"" if damage == "empty" else b"uid,url\n")
    with pytest.raises(InputError, match=r"a\.parquet"):
        tables.read_table(str(path), tables.SUBSET)


def test_equal_values_have_equal_bytes(tmp_path):
    data = pa.Table.from_pylist([ROW] * 3)
    for name in ("a", "b"):
        tables.write_table(data, tables.SUBSET, str(tmp_path / name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_content_digest_leaves_times_out_and_sees_every_value(tmp_path):
    def digest(**columns):
        return tables.content_digest(write(tmp_path / "x.parquet", **columns))

    base = digest(uid=["a", "b"], n=[1, None], fetched_at=[1, 2])
    assert digest(uid=["a", "b"], n=[1, None], fetched_at=[3, 4]) == base
    others = [
        digest(uid=["a", "b"], n=[1, 0], fetched_at=[1, 2]),
        digest(uid=["ab", ""], n=[1, None], fetched_at=[1, 2]),
        digest(uid=["a", "b"], m=[1, None], fetched_at=[1, 2]),
        digest(uid=["a", None], n=[1, None], fetched_at=[1, 2]),
    ]
    assert len({base, *others}) == 5


@pytest.mark.parametrize("rows", [0, 1, 65_536, 70_000])
def test_a_streamed_table_does_not_show_its_pieces(tmp_path, rows: int) -> None:
    uids = [f"{row:032x}" for row in range(rows)]
    data = pa.table({"uid": uids, "similarity": np.arange(rows, dtype=np.float32), "quantile_rank": np.zeros(rows)})
    data = data.cast(tables.SUBSET.schema)
    for name, size in (("whole", max(1, rows)), ("pieces", 9_999)):
        with tables.table_writer(tables.SUBSET, str(tmp_path / name)) as write:
            for start in range(0, rows, size):
                write(data.slice(start, size))
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "pieces").read_bytes()
    assert pq.read_table(tmp_path / "pieces").equals(data)
