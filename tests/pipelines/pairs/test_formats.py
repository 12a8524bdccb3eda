from __future__ import annotations

import gzip

import pyarrow as pa
import pytest

from clipsieve.pipelines.pairs.formats import TextFormat, open_text, text_format
from clipsieve.schemas.errors import InputError
from tests.pipelines.pairs.test_text import convert

CSV, TSV = "url,caption\na,b\n", "url\tcaption\na\tb\n"
JSON = '{"url": "a", "caption": "b"}'


def zst(text: str) -> bytes:
    return bytes(pa.compress(text.encode(), codec="zstd", asbytes=True))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("X.CSV", CSV),
        ("x.Tsv", TSV),
        ("x.tab", TSV),
        ("x.ndjson", JSON),
        ("x.JSONL", JSON),
        ("x.json", JSON),
        ("x.json", f"[{JSON}]"),
        ("x.csv.gz", gzip.compress(CSV.encode())),
        ("x.y.TSV.GZ", gzip.compress(TSV[:9].encode()) + gzip.compress(TSV[9:].encode())),
        ("x.jsonl.gz", gzip.compress(JSON.encode())),
        ("x.json.gz", gzip.compress(f"[{JSON}]".encode())),
        ("x.csv.zst", zst(CSV)),
        ("x.tsv.zst", zst(TSV[:9]) + zst(TSV[9:])),
        ("x.jsonl.zst", zst(JSON)),
    ],
    ids=lambda value: value if isinstance(value, str) and value[:1] in "xX" else "",
)
def test_a_text_is_read_by_the_ends_of_its_name(tmp_path, name, content):
    assert convert(tmp_path, name, content) == [{"url": "a", "caption": "b"}]


@pytest.mark.parametrize("name", ["x.parquet", "x.PARQUET", "x.pq", "x", "x.parquet.1", "x.parquet.gzip", "x.gz"])
def test_a_file_that_begins_as_parquet_does_is_parquet(tmp_path, name):
    (tmp_path / name).write_bytes(b"PAR1 and so on")
    assert text_format(str(tmp_path / name)) is None


@pytest.mark.parametrize("name", ["x.csv", "x.TSV", "x.jsonl", "x.json", "x.csv.gz"])
def test_parquet_that_is_named_as_a_text_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"PAR1 and so on")
    with pytest.raises(InputError, match=r"is a Parquet file; name it \.parquet"):
        text_format(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x.txt", "a list of URLs has no captions; write a table with a caption for each"),
        ("x.TXT.gz", "a list of URLs has no captions"),
        (
            "x.xlsx",
            r"\.xlsx is not a table that is read here: Parquet, CSV, TSV, JSON or JSONL, the texts also as \.gz",
        ),
        ("x.csv.bz2", r"\.bz2 is not a table"),
        ("x.csv.xz", r"\.xz is not a table"),
        ("x.csv.zip", r"\.zip is not a table"),
        ("x.arrow", r"\.arrow is not a table"),
        ("x.gz", "a file without suffix is not a table"),
        ("x", "a file without suffix is not a table"),
    ],
)
def test_what_is_not_read_is_named_with_what_is(tmp_path, name, reason):
    (tmp_path / name).write_bytes(b"http://127.0.0.1/a.jpg\n")
    with pytest.raises(InputError, match=rf"{name}: {reason}"):
        text_format(str(tmp_path / name))


def test_a_folder_and_what_is_not_there_are_left_to_the_reader_of_parquet(tmp_path):
    (tmp_path / "x.csv").mkdir()
    assert text_format(str(tmp_path / "x.csv")) is None
    assert text_format(str(tmp_path / "missing.csv")) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv.gz", gzip.compress(CSV.encode() * 100)[:-9]),
        ("t.csv.gz", b"no gzip"),
        ("t.tsv.gz", gzip.compress(TSV.encode()) + b"junk"),
        ("t.jsonl.gz", gzip.compress(JSON.encode())[:-4]),
        ("t.json.gz", b"\x1f\x8b\x08"),
        ("t.jsonl.zst", zst(JSON)[:-2]),
        ("t.csv.zst", b"no zstd"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_compressed_and_damaged_is_refused_in_one_line(tmp_path, name, content):
    with pytest.raises(InputError, match=rf"{name}: cannot be read as (gzip|zstd) \(.*\); copy it again") as error:
        convert(tmp_path, name, content)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_text_is_decompressed_as_a_stream(tmp_path):
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(64):
            stream.write(bytes(1 << 20))
    before = pa.total_allocated_bytes()
    with open_text(str(path), "gzip") as stream:
        assert len(stream.read(1 << 10)) == 1 << 10
        assert pa.total_allocated_bytes() - before < 8 << 20
    assert text_format(str(path)) == TextFormat("csv", "gzip")
