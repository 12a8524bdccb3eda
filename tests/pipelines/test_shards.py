from __future__ import annotations

import datetime
import hashlib
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.shards import TarWriter, open_shard, read_stats, stats_path
from schemas import tables
from schemas.errors import InputError
from schemas.outcomes import ErrorClass, Status
from schemas.samples import iter_samples, parse_samples

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)


def row(number, error=None, **more):
    values = dict.fromkeys(tables.SHARDS.columns)
    del values["tar_offset"], values["tar_size"]
    status = error.status if error else Status.SUCCESS
    values |= {"uid": f"{number:032x}", "caption": f"números {number}", "url": "u", "key": f"{number:09d}"}
    return values | {"status": status.value, "error_class": error.value if error else None} | more


def write(folder, rows, extra=None, duplicates=0):
    """Rows with an error have no image; the others have one that is told by the key."""
    passed = extra if extra is not None else pa.table({})
    with open_shard(str(folder), "00000", passed, duplicates) as shard:
        for each in rows:
            shard.write(each, None if each["error_class"] else each["key"].encode() * 100)
    return read_stats(stats_path(str(folder), "00000"))


@given(st.lists(st.tuples(names, st.dictionaries(names, st.binary(max_size=1500), min_size=1)), max_size=6))
def test_a_tar_holds_its_members_where_the_writer_says(samples):
    stream = io.BytesIO()
    writer = TarWriter(stream)
    places = [writer.write(key, members) for key, members in samples]
    digest = writer.close()
    data = stream.getvalue()
    assert digest == hashlib.sha256(data).hexdigest()
    assert len(data) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        got = [(member.name, _read(tar, member)) for member in tar.getmembers()]
        assert all(m.mtime == m.uid == m.gid == 0 and m.isreg() and m.mode == 0o644 for m in tar.getmembers())
    assert got == [(f"{key}.{ext}", data) for key, members in samples for ext, data in members.items()]
    for (key, members), (offset, size) in zip(samples, places, strict=True):
        (sample,) = parse_samples(data[offset : offset + size], "x")
        assert (sample.key, sample.members) == (key, members)


def _read(tar, member):
    content = tar.extractfile(member)
    return content.read() if content else None


def test_a_shard_is_read_back_as_it_was_written(tmp_path):
    rows = [row(0), row(1, ErrorClass.TIMEOUT), row(2, fetched_at=None, http_status=200)]
    extra = pa.table({"n": pa.array([7, 8, 9], pa.int8()), "source_width": [[1], [2], []]})
    write(tmp_path, rows, extra)
    table = pq.read_table(tmp_path / "00000.parquet")
    assert table.schema.names == [*tables.SHARDS.columns, "n", "source_width"]
    assert table.schema.field("n").type == pa.int8()
    assert table["source_width"].to_pylist() == [[1], [2], []]
    first, second = iter_samples(str(tmp_path / "00000.tar"))
    assert [first.key, second.key] == ["000000000", "000000002"]
    assert list(second.members) == ["jpg", "txt", "json"]
    assert second.caption == "números 2"
    assert second.image == b"000000002" * 100
    assert table["tar_offset"].to_pylist() == [first.offset, None, second.offset]
    assert table["tar_size"].to_pylist() == [first.size, None, second.size]
    of_json = set(tables.SHARDS.columns) - {"fetched_at", "tar_offset", "tar_size"} | {"n", "source_width"}
    assert set(second.metadata) == of_json
    assert (second.metadata["uid"], second.metadata["n"]) == (f"{2:032x}", 9)


def test_stats_count_every_row_once(tmp_path):
    rows = [row(0), row(1, ErrorClass.HTTP_ERROR, http_status=404), row(2, ErrorClass.DECODE_ERROR)]
    rows += [row(3, ErrorClass.HTTP_ERROR, http_status=500), row(4, ErrorClass.HTTP_ERROR, http_status=404)]
    stats = write(tmp_path, rows, duplicates=3)
    assert (stats.count, stats.successes, stats.failed_to_download, stats.failed_to_resize) == (5, 1, 3, 1)
    assert stats.duplicates == 3
    assert stats.status_dict == {"decode_error": 1, "http_error 404": 2, "http_error 500": 1, "success": 1}
    assert stats.error_classes == {"decode_error": 1, "http_error": 3}
    assert stats.tar_sha256 == hashlib.sha256((tmp_path / "00000.tar").read_bytes()).hexdigest()
    assert stats.rows_digest == tables.content_digest(str(tmp_path / "00000.parquet"))
    keys = list(json.loads((tmp_path / "00000_stats.json").read_text()))
    assert keys[:4] == ["count", "successes", "failed_to_download", "failed_to_resize"]


def test_a_shard_of_failures_alone_is_an_empty_tar(tmp_path):
    write(tmp_path, [row(0, ErrorClass.TIMEOUT)])
    assert list(iter_samples(str(tmp_path / "00000.tar"))) == []


def test_times_are_in_no_tar(tmp_path):
    for name, day in (("a", 1), ("b", 2)):
        when = datetime.datetime(2020, 1, day, tzinfo=datetime.timezone.utc)
        write(tmp_path / name, [row(0, fetched_at=when)])
    a, b = ((tmp_path / name / "00000.tar").read_bytes() for name in "ab")
    assert a == b


def test_a_shard_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), open_shard(str(tmp_path), "00000", pa.table({}), 0) as shard:
        shard.write(row(0), b"jpeg")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_foreign_stats_are_named(tmp_path):
    path = tmp_path / "00000_stats.json"
    for content in ('{"count": 1}', "nonsense"):
        path.write_text(content)
        with pytest.raises(InputError, match=r"00000_stats\.json: not the stats"):
            read_stats(str(path))
