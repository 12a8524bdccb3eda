from __future__ import annotations

import datetime
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsieve.pipelines.shards.writer import INPUT_COLUMNS, RowOutcome, open_shard, read_stats, stats_path
from clipsieve.schemas import tables
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.outcomes import ErrorClass, Status
from clipsieve.schemas.samples import iter_samples

SOUND = RowOutcome({"status": Status.SUCCESS.value, "error_class": None}, b"image " * 100)


def failed(error, **more):
    return RowOutcome({"status": error.status.value, "error_class": error.value, **more})


def write(folder, outcomes, extra=None, duplicates=0, at_a_time=100):
    """Rows numbered from 0, with these outcomes, written ``at_a_time``."""
    numbers = range(len(outcomes))
    rows = pa.table(
        {
            **(extra or {}),
            "caption": [f"números {number}" for number in numbers],
            "url": ["u"] * len(numbers),
            "key": [f"{number:09d}" for number in numbers],
            "uid": [f"{number:032x}" for number in numbers],
        }
    )
    passed = rows.drop_columns(list(INPUT_COLUMNS)).schema
    with open_shard(str(folder), "00000", passed, duplicates) as shard:
        for start in range(0, len(rows), at_a_time):
            shard.write(rows.slice(start, at_a_time), outcomes[start : start + at_a_time])
    return read_stats(stats_path(str(folder), "00000"))


def test_the_json_members_are_strict_json(tmp_path):
    values = {
        "score": pa.array([float("nan"), float("inf"), float("-inf"), 0.5, None]),
        "half": pa.array([float("nan"), 1.5, 2.5, float("inf"), 0.0], pa.float32()),
        "list": pa.array([[float("nan"), 1.0], [], None, [float("inf")], [2.0]]),
        "nested": pa.array([{"a": [float("nan")]}, {"a": [1.0]}, None, {"a": None}, {"a": [float("-inf"), 3.0]}]),
        "text": ["NaN", "Infinity", "null", "", "x"],
    }
    write(tmp_path, [SOUND] * 5, values)

    def refuse(name):
        raise ValueError(name)

    read = [
        json.loads(sample.members["json"], parse_constant=refuse)
        for sample in iter_samples(str(tmp_path / "00000.tar"))
    ]
    assert [row["score"] for row in read] == [None, None, None, 0.5, None]
    assert [row["half"] for row in read] == [None, 1.5, 2.5, None, 0.0]
    assert [row["list"] for row in read] == [[None, 1.0], [], None, [None], [2.0]]
    assert [row["nested"] for row in read] == [{"a": [None]}, {"a": [1.0]}, None, {"a": None}, {"a": [None, 3.0]}]
    assert [row["text"] for row in read] == values["text"]
    assert all(map(np.isnan, pq.read_table(tmp_path / "00000.parquet")["score"].to_pylist()[:1]))


def test_a_shard_is_read_back_as_it_was_written(tmp_path):
    outcomes = [SOUND, failed(ErrorClass.TIMEOUT), replace(SOUND, columns=SOUND.columns | {"http_status": 200})]
    extra = {"n": pa.array([7, 8, 9], pa.int8()), "source_width": [[1], [2], []]}
    write(tmp_path, outcomes, extra)
    table = pq.read_table(tmp_path / "00000.parquet")
    assert table.schema.names == ["n", "source_width", *tables.SHARDS.columns]
    assert table.schema.field("n").type == pa.int8()
    assert table["source_width"].to_pylist() == [[1], [2], []]
    assert table["uid"].to_pylist() == [f"{number:032x}" for number in range(3)]
    assert table["status"].to_pylist() == ["success", "failed_to_download", "success"]
    assert table["http_status"].to_pylist() == [None, None, 200]
    first, second = iter_samples(str(tmp_path / "00000.tar"))
    assert [first.key, second.key] == ["000000000", "000000002"]
    assert list(second.members) == ["jpg", "json", "txt"]
    assert second.caption == "números 2"
    assert second.image == SOUND.image
    assert table["tar_offset"].to_pylist() == [first.offset, None, second.offset]
    assert table["tar_size"].to_pylist() == [first.size, None, second.size]
    of_json = [name for name in tables.SHARDS.columns if name not in ("fetched_at", "tar_offset", "tar_size")]
    assert list(second.metadata) == ["n", "source_width", *of_json]
    assert (second.metadata["uid"], second.metadata["n"]) == (f"{2:032x}", 9)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 40))
def test_a_shard_does_not_depend_on_how_many_rows_are_written_at_a_time(tmp_path_factory, sound, at_a_time):
    outcomes = [SOUND if each else failed(ErrorClass.TIMEOUT) for each in sound]
    one, other = (tmp_path_factory.mktemp("shard") for _ in range(2))
    write(one, outcomes)
    write(other, outcomes, at_a_time=at_a_time)
    for name in ("00000.tar", "00000.parquet"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_long_captions_are_carried_whole_and_end_a_row_group(tmp_path):
    long = ["x" * 2_000_000, "ü" * 9_000_000, "y" * 2_000_000]
    rows = pa.table({"caption": long, "url": ["u"] * 3, "key": list("012"), "uid": ["0" * 32] * 3})
    with open_shard(str(tmp_path), "00000", pa.schema([]), 0) as shard:
        for row in range(3):
            shard.write(rows.slice(row, 1), [SOUND])
    parquet = pq.ParquetFile(tmp_path / "00000.parquet")
    groups = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
    assert groups == [2, 1]
    assert parquet.read()["caption"].to_pylist() == long
    samples = list(iter_samples(str(tmp_path / "00000.tar")))
    assert [sample.caption for sample in samples] == [sample.metadata["caption"] for sample in samples] == long


def test_stats_count_every_row_once(tmp_path):
    ends = [(ErrorClass.HTTP_ERROR, 404), (ErrorClass.DECODE_ERROR, 200), (ErrorClass.HTTP_ERROR, 500)]
    ends.append((ErrorClass.HTTP_ERROR, 404))
    outcomes = [SOUND, *(failed(error, http_status=status) for error, status in ends)]
    stats = write(tmp_path, outcomes, duplicates=3)
    assert (stats.count, stats.successes, stats.failed_to_download, stats.failed_to_resize) == (5, 1, 3, 1)
    assert stats.duplicates == 3
    assert stats.status_dict == {"decode_error": 1, "http_error 404": 2, "http_error 500": 1, "success": 1}
    assert stats.error_classes == {"decode_error": 1, "http_error": 3}
    assert stats.tar_xxh3 == xxhash.xxh3_128((tmp_path / "00000.tar").read_bytes()).hexdigest()
    assert stats.rows_digest == tables.content_digest(str(tmp_path / "00000.parquet"))
    keys = list(json.loads((tmp_path / "00000_stats.json").read_text()))
    assert keys[:4] == ["count", "successes", "failed_to_download", "failed_to_resize"]


def test_a_shard_of_failures_alone_is_an_empty_tar(tmp_path):
    write(tmp_path, [failed(ErrorClass.TIMEOUT)])
    assert list(iter_samples(str(tmp_path / "00000.tar"))) == []


def test_a_shard_whose_rows_are_all_left_out_has_its_columns(tmp_path):
    stats = write(tmp_path, [], {"n": pa.array([], pa.int8())}, duplicates=5)
    assert (stats.count, stats.duplicates) == (0, 5)
    assert pq.read_schema(tmp_path / "00000.parquet").names == ["n", *tables.SHARDS.columns]


def test_times_are_in_no_tar(tmp_path):
    for name, day in (("a", 1), ("b", 2)):
        when = datetime.datetime(2020, 1, day, tzinfo=datetime.timezone.utc)
        write(tmp_path / name, [replace(SOUND, columns=SOUND.columns | {"fetched_at": when})])
    a, b = ((tmp_path / name / "00000.tar").read_bytes() for name in "ab")
    assert a == b


def test_a_shard_that_fails_leaves_nothing(tmp_path):
    rows = pa.table({name: ["x"] for name in INPUT_COLUMNS})
    with pytest.raises(RuntimeError), open_shard(str(tmp_path), "00000", pa.schema([]), 0) as shard:
        shard.write(rows, [SOUND])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_foreign_stats_are_named(tmp_path):
    path = tmp_path / "00000_stats.json"
    for content in ('{"count": 1}', "nonsense"):
        path.write_text(content)
        with pytest.raises(InputError, match=r"00000_stats\.json: not the stats"):
            read_stats(str(path))
