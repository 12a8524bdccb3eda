"""Packing folders and tables: each row ends once, as what it is; the same bytes however it runs; and what follows."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.evaluation.report.collect import collect
from clipsieve.pipelines.explain.find import run as explain
from clipsieve.pipelines.images.process import ProcessedImage, process_image
from clipsieve.pipelines.pack import job
from clipsieve.pipelines.score import job as score
from clipsieve.pipelines.select import job as select
from clipsieve.pipelines.shards.rows import iter_shard_samples
from clipsieve.pipelines.takedown import job as takedown
from clipsieve.pipelines.verify import job as verify
from clipsieve.schemas.errors import BudgetError, InputError
from clipsieve.schemas.options import PackOptions, ScoreOptions, SelectOptions
from clipsieve.schemas.outcomes import ErrorClass
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.uid import uid_of
from tests.pipelines.conftest import jpeg_of

ONE_PROCESS = ["--runner=FnApiRunner"]
PICTURES = 8


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight pictures in two folders, and five files that fail, each in its own way."""
    folder = tmp_path / "photos"
    for number in range(PICTURES):
        write(folder / f"{'ab'[number % 2]}/{number}.jpg", jpeg_of(number, 300))
        write(folder / f"{'ab'[number % 2]}/{number}.txt", f"caption {number}\n".encode())
    write(tmp_path / "secret.jpg", jpeg_of(99))
    for name, content in {"page": b"<html>", "cut": jpeg_of(7, 300)[:500], "empty": b"", "bare": jpeg_of(98)}.items():
        write(folder / f"{name}.jpg", content)
    for name in ("page", "cut", "empty", "out"):
        write(folder / f"{name}.json", json.dumps({"caption": name}).encode())
    (folder / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    return folder


FAILED = {
    "page.jpg": "not_an_image",
    "cut.jpg": "decode_error",
    "empty.jpg": "empty_body",
    "bare.jpg": "no_caption",
    "out.jpg": "forbidden_path",
}


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def pack(pictures: Path, out: Path, root: Path | None = None, beam: list[str] = ONE_PROCESS, **options: object) -> None:
    recipe = PackOptions(**{"shard_size": 5, **options})
    job.run(str(pictures), str(out), recipe, beam, str(root) if root else None)


def rows_of(shards: Path) -> list[dict[str, object]]:
    return [row for path in sorted(shards.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def ends_of(shards: Path) -> dict[object, object]:
    return {row["url"]: row["error_class"] for row in rows_of(shards)}


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.[tp]ar*")}


def test_each_picture_of_a_folder_is_a_row(photos: Path, tmp_path: Path) -> None:
    before = {str(path): path.read_bytes() for path in photos.rglob("*.*")}
    out = tmp_path / "run" / "shards"
    pack(photos, out)
    rows = rows_of(out)
    expected = {f"{'ab'[number % 2]}/{number}.jpg": None for number in range(PICTURES)} | FAILED
    assert {row["url"]: row["error_class"] for row in rows} == expected
    assert [row["key"] for row in rows] == [f"{place // 5:05d}{place % 5}" for place in range(len(rows))]
    assert all(row["uid"] == uid_of(str(row["url"]), str(row["caption"])) for row in rows)
    samples = {sample.key: sample for name in list_shards(str(out)) for sample in iter_shard_samples(str(out), name)}
    for row in rows:
        if row["error_class"] is None:
            source = (photos / str(row["url"])).read_bytes()
            made = process_image(source, PackOptions())
            sample = samples.pop(str(row["key"]))
            assert isinstance(made, ProcessedImage) and (sample.image, sample.caption) == (made.image, row["caption"])
            assert (row["sha256"], row["byte_size"]) == (hashlib.sha256(source).hexdigest(), len(source))
            assert (row["width"], row["height"], row["phash"]) == (256, 256, made.phash)
    assert not samples
    checks = {check.what: check.detail for check in verify.run(str(tmp_path / "run"))}
    assert checks["shards"].startswith("13 rows = 0 duplicates + 8 downloaded + 5 failed, in 3 shards")
    assert checks["pairs"].startswith("13 rows, 13 distinct") and checks["dead letters"].startswith("5 rows")
    assert {str(path): path.read_bytes() for path in photos.rglob("*.*")} == before


def table_rows(photos: Path) -> list[dict[str, object]]:
    given = ["a/0.jpg", str(photos / "b/1.jpg"), f"file://{photos}/a/%32.jpg", "./a/../a/0.jpg"]
    failed = ["page.jpg", "../secret.jpg", "out.jpg", "/etc/passwd", "a", "http://127.0.0.1/x", "", "a/1.jpg"]
    rows: list[dict[str, object]] = [{"caption": f"caption {name[-5:-4]}", "url": name} for name in [*given, *failed]]
    rows.append({"caption": "", "url": "a/4.jpg"})
    return [{"path": row.pop("url"), **row, "url": f"http://a/{n}", "width": str(n)} for n, row in enumerate(rows)]


ENDS = {
    "a/0.jpg": None,
    "b/1.jpg": None,
    "a/2.jpg": None,
    "page.jpg": "not_an_image",
    "../secret.jpg": "forbidden_path",
    "out.jpg": "forbidden_path",
    "a": "not_a_file",
    "http://127.0.0.1/x": "scheme_not_allowed",
    "": "invalid_url",
    "a/1.jpg": "file_not_found",
    "a/4.jpg": "no_caption",
}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_each_row_of_a_table_is_one(photos: Path, tmp_path: Path, suffix: str) -> None:
    rows, path = table_rows(photos), photos / f"list.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter="," if suffix == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    pack(path, tmp_path / "run" / "shards")
    ends = ends_of(tmp_path / "run" / "shards")
    (outside,) = ends.keys() - ENDS.keys()
    assert str(outside).startswith("../") and str(outside).endswith("/etc/passwd") and ends.pop(outside) is not None
    assert ends == ENDS
    first = rows_of(tmp_path / "run" / "shards")[0]
    assert (first["source_url"], first["source_width"], first["width"]) == ("http://a/0", "0", 256)
    checks = {check.what: check.detail for check in verify.run(str(tmp_path / "run"))}
    assert checks["shards"].startswith("13 rows = 1 duplicates + 3 downloaded + 9 failed, in 3 shards")


def test_a_table_names_the_column_and_the_user_the_root(photos: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "list.csv").write_text(
        f"uid,picture,text,sha256\n{'ab' * 16},../photos/a/0.jpg,zero,\n"
        f"{'cd' * 16},../photos/b/1.jpg,one,{'0' * 64}\n{'ef' * 16},list.csv,two,\n"
    )
    with pytest.raises(InputError, match=r"column 'path' is missing \(or file, image, filename, url\)"):
        pack(tables / "list.csv", tmp_path / "out")
    assert not (tmp_path / "out" / "_manifest").exists()
    with pytest.raises(
        BudgetError, match="none of 3 pairs came; 2 failed with forbidden_path: --root DIR names"
    ) as none:
        pack(tables / "list.csv", tmp_path / "out", path_column="picture")
    assert none.value.exit_status == 3
    assert list(ends_of(tmp_path / "out").values()) == ["forbidden_path", "forbidden_path", "not_an_image"]
    pack(tables / "list.csv", tmp_path / "out", photos, path_column="picture")
    ends = {"a/0.jpg": None, "b/1.jpg": "hash_mismatch", "../tables/list.csv": "forbidden_path"}
    assert ends_of(tmp_path / "out") == ends
    assert [row["uid"] for row in rows_of(tmp_path / "out")] == ["ab" * 16, "cd" * 16, "ef" * 16]


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("list.csv", "a/0.jpg,zero\na/2.jpg,two\n", ("path", "caption")),
        ("list.TSV", "zero\ta/0.jpg\ntwo\ta/2.jpg\n", ("text", "image")),
        ("list.csv.gz", "file,alt\na/0.jpg,zero\na/2.jpg,two\n", ()),
        ("list.json", '[{"path": "a/0.jpg", "text": "zero"}, {"path": "a/2.jpg", "text": "two"}]', ()),
        ("list.ndjson", '{"url": "a/0.jpg", "text": "zero"}\n{"url": "a/2.jpg", "text": "two"}\n', ()),
    ],
)
def test_a_table_is_read_as_one_of_urls_is(
    photos: Path, tmp_path: Path, name: str, content: str, columns: tuple[str, ...]
) -> None:
    data = content.encode()
    write(photos / name, gzip.compress(data) if name.endswith(".gz") else data)
    pack(photos / name, tmp_path / "out", columns=columns)
    assert [(row["url"], row["caption"], row["error_class"]) for row in rows_of(tmp_path / "out")] == [
        ("a/0.jpg", "zero", None),
        ("a/2.jpg", "two", None),
    ]


def test_columns_are_those_of_a_table_without_a_header(photos: Path, tmp_path: Path) -> None:
    write(photos / "list.jsonl", b'{"path": "a/0.jpg", "caption": "zero"}\n')
    with pytest.raises(InputError, match="its columns have names; `columns` is for a CSV or TSV that has no header"):
        pack(photos / "list.jsonl", tmp_path / "out", columns=("path", "caption"))
    with pytest.raises(InputError, match="is a folder; `columns` is for a CSV or TSV that has no header"):
        pack(photos, tmp_path / "out", columns=("path", "caption"))
    assert not (tmp_path / "out" / "_manifest").exists()


def test_a_folder_of_which_nothing_came_is_begun_anew(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,caption\n0.jpg,zero\n2.jpg,two\n")
    for _ in range(2):
        with pytest.raises(BudgetError, match="none of 2 pairs came; 2 failed with file_not_found: a path is relative"):
            pack(tmp_path / "list.csv", tmp_path / "out")
    shutil.copy(photos / "a" / "0.jpg", tmp_path)
    pack(tmp_path / "list.csv", tmp_path / "out")
    assert ends_of(tmp_path / "out") == {"0.jpg": None, "2.jpg": "file_not_found"}
    before = digests(tmp_path / "out")
    shutil.copy(photos / "a" / "2.jpg", tmp_path)
    pack(tmp_path / "list.csv", tmp_path / "out")
    assert digests(tmp_path / "out") == before


@pytest.mark.parametrize("error", job.WAYS_OUT)
def test_a_way_out_names_flags_that_exist(error: ErrorClass) -> None:
    flags = {word.removeprefix("--") for word in job.WAYS_OUT[error].split() if word.startswith("--")}
    assert flags <= {name.replace("_", "-").removesuffix("s") for name in PackOptions.model_fields} | {"root"}


def test_neither_workers_nor_a_stop_matter(photos: Path, tmp_path: Path) -> None:
    pack(photos, tmp_path / "one")
    pack(photos, tmp_path / "two", beam=[])
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert len(digests(tmp_path / "one")) == 6
    for name in ("00000_stats.json", "00001_stats.json", "00001.tar"):
        (tmp_path / "two" / name).unlink()  # as a stop leaves it
    path = tmp_path / "two" / "_manifest" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "running", "counts": {}, "digest": None}))
    pack(photos, tmp_path / "two")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "_pairs")  # as a takedown does: what is done is not begun again
    pack(photos, tmp_path / "two")
    assert not (tmp_path / "two" / "_pairs").exists()
    (photos / "a" / "0.txt").write_text("another caption")
    with pytest.raises(InputError, match=r"done with another recipe or input: `pictures` was"):
        pack(photos, tmp_path / "two")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nothing", r"nothing: no such folder or table"),
        (lambda folder: folder, r"no picture in this folder or below it \(.jpg"),
    ],
)
def test_what_is_no_input_is_named(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match=message):
        pack(make(tmp_path / "in"), tmp_path / "out")


def test_a_root_holds_the_pictures(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"photos: is not below .*photos/a, which --root names"):
        pack(photos, tmp_path / "out", photos / "a")
    with pytest.raises(InputError, match=r"nothing: no such folder; --root names a local one"):
        pack(photos, tmp_path / "out", tmp_path / "nothing")
    pack(photos, tmp_path / "out", tmp_path)
    assert ends_of(tmp_path / "out")["photos/out.jpg"] is None


def test_too_many_failures_end_the_job(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"\d of \d+ pairs failed"):
        pack(photos, tmp_path / "out", max_failure_share=0.3)
    pack(photos, tmp_path / "out", max_failure_share=0.4)


def test_what_follows_takes_packed_pictures(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pack(photos, run / "shards")
    score.run(str(run / "shards"), str(run / "scores"), ScoreOptions(references=("builtin",)), ONE_PROCESS)
    select.run(str(run / "scores"), str(run), SelectOptions(fractions=(50,)), ONE_PROCESS)
    steps = collect(str(run)).steps
    assert [step.count for step in steps] == [13, 13, PICTURES, PICTURES, PICTURES, PICTURES // 2]
    row = next(row for row in rows_of(run / "shards") if row["url"] == "b/3.jpg")
    told = explain(str(row["uid"]), str(run), str(tmp_path / "3.jpg"))
    assert told.shards[0].values["url"] == "b/3.jpg" and (tmp_path / "3.jpg").exists()
    (tmp_path / "list.txt").write_text(f"{row['uid']}\n")
    takedown.run(str(run), str(tmp_path / "list.txt"))
    left = {row["uid"]: row for row in rows_of(run / "shards")}
    assert (left[row["uid"]]["url"], left[row["uid"]]["error_class"]) == (None, "opted_out")
    assert not any(b"caption 3" in path.read_bytes() for path in run.rglob("*.*") if path.is_file())
    verify.run(str(run), str(tmp_path / "list.txt"))
    pack(photos, run / "shards")  # is done: brings nothing back
    verify.run(str(run), str(tmp_path / "list.txt"))
