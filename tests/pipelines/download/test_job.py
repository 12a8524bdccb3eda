from __future__ import annotations

import io
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsieve.pipelines.download import job as download
from clipsieve.pipelines.quickstart.web import Behaviour, Page, serve
from clipsieve.schemas import tables
from clipsieve.schemas.errors import BudgetError, InputError
from clipsieve.schemas.manifest import read_manifest
from clipsieve.schemas.options import DownloadOptions
from clipsieve.schemas.outcomes import ErrorClass
from clipsieve.schemas.samples import iter_samples
from clipsieve.schemas.shards import list_shards
from clipsieve.schemas.uid import uid_of
from tests.commands import CLIPSIEVE

ONE_PROCESS = ("--runner=FnApiRunner",)
TWO_WORKERS = (*ONE_PROCESS, "--direct_running_mode=multi_processing", "--direct_num_workers=2")
SHARD_SIZE = 5

ENDS = {
    Behaviour.OK: None,
    Behaviour.WRONG_TYPE: None,
    Behaviour.REDIRECT: None,
    Behaviour.FLAKY: None,
    Behaviour.REDIRECT_LOOP: ErrorClass.TOO_MANY_REDIRECTS,
    Behaviour.REDIRECT_PRIVATE: ErrorClass.FORBIDDEN_ADDRESS,
    Behaviour.NOT_FOUND: ErrorClass.HTTP_ERROR,
    Behaviour.HTML: ErrorClass.NOT_AN_IMAGE,
    Behaviour.NOAI: ErrorClass.OPTED_OUT,
    Behaviour.TRUNCATED: ErrorClass.CONNECTION_ERROR,
    Behaviour.OVERSIZED: ErrorClass.TOO_LARGE,
    Behaviour.STALL: ErrorClass.TIMEOUT,
}


def png(seed):
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 6, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((96, 128)).save(stream, "PNG")
    return stream.getvalue()


def options(base, **more):
    values = {
        "shard_size": SHARD_SIZE,
        "image_size": 64,
        "read_timeout": 2,
        "max_bytes": 1_000_000,
        "concurrency": 8,
    }
    return DownloadOptions(**{**values, **more}, allow_hosts=(base.removeprefix("http://"),))


@pytest.fixture(scope="module")
def web():
    """A page of each behaviour, then sound ones up to 17; yields the server's base URL."""
    behaviours = [*Behaviour, *[Behaviour.OK] * (17 - len(Behaviour))]
    pages = {f"/{number}.png": Page(png(number), kind) for number, kind in enumerate(behaviours)}
    with serve(pages) as base:
        yield base


@pytest.fixture(scope="module")
def sound_rows(web):
    """Rows that end well, and three that repeat one of the first shard: there, and in each of the others."""
    urls = [f"{web}/{number}.png{query}" for query in ("", "?x") for number in range(12, 17)]
    captions = [f"picture {number}" for number in range(10)]
    for place in (3, 7, 12):
        urls.insert(place, urls[1])
        captions.insert(place, captions[1])
    return pa.table({"url": urls, "caption": captions})


def parquet(folder, table, **more):
    path = folder / "pairs.parquet"
    pq.write_table(table, path, **more)
    return str(path)


def data_files(folder):
    """Every tar's bytes and every Parquet's content, by name."""
    tars = {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.tar"))}
    rows = {path.name: tables.content_digest(str(path)) for path in sorted(Path(folder).glob("*.parquet"))}
    return tars | rows


def read_rows(folder):
    return pa.concat_tables(pq.read_table(path) for path in sorted(Path(folder).glob("*.parquet")))


def manifest_of(folder):
    found = read_manifest(str(folder))
    assert found is not None
    return found


def test_every_row_ends_once_with_its_class(web, tmp_path):
    urls = [f"{web}/{number}.png" for number in range(len(Behaviour))] + [
        None,
        "ftp://x/y",
        "http://127.0.0.1/",
    ]
    captions = [None, *[f"c {number}" for number in range(len(urls) - 1)]]
    ends = [
        *(ENDS[behaviour] for behaviour in Behaviour),
        ErrorClass.INVALID_URL,
        ErrorClass.SCHEME_NOT_ALLOWED,
        ErrorClass.FORBIDDEN_ADDRESS,
    ]
    numbers = pa.array(range(len(urls)), pa.int16())
    path = parquet(tmp_path, pa.table({"URL": urls, "TEXT": captions, "n": numbers, "width": numbers}))
    out = str(tmp_path / "shards")
    done = download.run(path, out, options(web, attempts=2), ONE_PROCESS)

    rows = read_rows(out)
    assert rows["n"].to_pylist() == rows["source_width"].to_pylist() == list(range(len(urls)))
    assert rows["n"].type == pa.int16()
    classes = [end.value if end else None for end in ends]
    assert rows["error_class"].to_pylist() == classes
    assert rows["status"].to_pylist() == [end.status.value if end else "success" for end in ends]
    assert rows["uid"].to_pylist() == [uid_of(u or "", c or "") for u, c in zip(urls, captions, strict=True)]
    assert rows["key"].to_pylist() == [f"{row // SHARD_SIZE:05d}{row % SHARD_SIZE}" for row in range(len(urls))]
    assert rows["attempts"][list(Behaviour).index(Behaviour.FLAKY)].as_py() == 2

    samples = [sample for name in list_shards(out) for sample in iter_samples(f"{out}/{name}.tar")]
    sound = [row for row in rows.to_pylist() if row["error_class"] is None]
    assert [sample.key for sample in samples] == [row["key"] for row in sound]
    assert [sample.caption for sample in samples] == [row["caption"] for row in sound]
    assert all(Image.open(io.BytesIO(sample.image)).size == (64, 85) for sample in samples)

    failures = {f"error_{name}": classes.count(name) for name in classes if name}
    kinds = {
        end: sum(row["status"] == end for row in rows.to_pylist())
        for end in ("success", "failed_to_download", "failed_to_resize")
    }
    assert done.counts.shown == {"rows": len(urls), "duplicates": 0, **kinds, **failures}


def test_workers_processes_row_groups_and_formats_do_not_change_a_byte(web, sound_rows, tmp_path):
    chosen = options(web)
    reference = download.run(parquet(tmp_path, sound_rows), str(tmp_path / "one"), chosen, ONE_PROCESS)
    expected = data_files(tmp_path / "one")
    assert reference.counts.shown == {
        "rows": 13,
        "duplicates": 3,
        "success": 10,
        "failed_to_download": 0,
        "failed_to_resize": 0,
    }
    assert list(expected)[:3] == ["00000.tar", "00001.tar", "00002.tar"]
    kept = read_rows(tmp_path / "one")["key"].to_pylist()
    assert kept == [
        "000000",
        "000001",
        "000002",
        "000004",
        "000010",
        "000011",
        "000013",
        "000014",
        "000020",
        "000021",
    ]

    download.run(parquet(tmp_path, sound_rows, row_group_size=2), str(tmp_path / "two"), chosen, TWO_WORKERS)
    assert data_files(tmp_path / "two") == expected
    pa_csv.write_csv(sound_rows, tmp_path / "pairs.csv")
    from_csv = download.run(str(tmp_path / "pairs.csv"), str(tmp_path / "csv"), chosen, ONE_PROCESS)
    assert data_files(tmp_path / "csv") == expected
    assert from_csv.digest == reference.digest

    (tmp_path / "parts").mkdir()
    for name, start, count in (("a", 0, 6), ("b", 6, 99)):
        pq.write_table(sound_rows.slice(start, count), tmp_path / "parts" / f"{name}.parquet")
    download.run(str(tmp_path / "parts"), str(tmp_path / "folder"), chosen, ONE_PROCESS)
    assert data_files(tmp_path / "folder") == expected


def test_a_killed_run_goes_on_to_the_bytes_of_one_that_was_not(web, tmp_path):
    """The last shard has a page that stalls, so that the run is killed while it is at work there."""
    stalled = list(Behaviour).index(Behaviour.STALL)
    numbers = [*range(12, 17), *range(12, 17), 12, stalled]
    rows = pa.table({"url": [f"{web}/{n}.png" for n in numbers], "caption": [str(i) for i in range(len(numbers))]})
    path, chosen = parquet(tmp_path, rows), options(web, read_timeout=3, attempts=1)
    flags = "--attempts 1 --read-timeout 3 --shard-size 5 --image-size 64 --max-bytes 1000000 --concurrency 8"
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [CLIPSIEVE, "download", "--pairs", path, "--out", str(killed)]
    command += ["--allow-host", *chosen.allow_hosts, *flags.split(), "--", *ONE_PROCESS]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
        _wait_for(lambda: (killed / "00001_stats.json").exists() and any(killed.glob(".00002.tar.*")), running)
        running.send_signal(signal.SIGKILL)
    leftovers = list(killed.glob(".*.tmp.*"))
    assert sorted(path.name.split(".")[2] for path in leftovers) == ["parquet", "tar"]
    assert not manifest_of(killed).complete
    finished = {path.name: path.stat().st_mtime_ns for path in killed.glob("0000[01]*")}
    with pytest.raises(InputError, match=r"half done with another recipe or input: `shard_size` was 5, now 6"):
        download.run(path, str(killed), chosen.model_copy(update={"shard_size": 6}), ONE_PROCESS)

    done = download.run(path, str(killed), chosen, ONE_PROCESS)
    assert {path.name: path.stat().st_mtime_ns for path in killed.glob("0000[01]*")} == finished
    assert list(killed.glob(".*.tmp.*")) == []
    assert done.digest == download.run(path, str(whole), chosen, ONE_PROCESS).digest
    assert data_files(killed) == data_files(whole)


def _wait_for(condition, running):
    while not condition():
        assert running.poll() is None, "the run ended before it could be killed"
        threading.Event().wait(0.02)


def test_a_finished_folder_is_left_alone_without_the_web(tmp_path):
    out = tmp_path / "shards"
    with serve({"/a.png": Page(png(1))}) as base:
        path = parquet(tmp_path, pa.table({"url": [f"{base}/a.png"], "caption": ["a"]}))
        first = download.run(path, str(out), options(base), ONE_PROCESS)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert download.run(path, str(out), options(base), ONE_PROCESS) == first
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_too_many_failures_are_an_error_that_keeps_the_work(web, tmp_path):
    rows = pa.table({"url": [f"{web}/12.png", f"{web}/none.png"], "caption": ["a", "b"]})
    path, out = parquet(tmp_path, rows), str(tmp_path / "shards")
    for _ in range(2):
        with pytest.raises(BudgetError, match=r"1 of 2 pairs failed \(50\.0%\)"):
            download.run(path, out, options(web, max_failure_share=0.4), ONE_PROCESS)
    assert manifest_of(out).complete
    assert list_shards(out) == ["00000"]


def test_a_table_that_cannot_be_read_is_named_and_the_folder_stays_free(tmp_path):
    out = tmp_path / "shards"
    chosen = options("http://127.0.0.1:1")
    with pytest.raises(InputError, match="no such file"):
        download.run(str(tmp_path / "none.parquet"), str(out), chosen)
    bad = tmp_path / "bad.csv"
    bad.write_text("url,caption\na,b\nc\n")
    with pytest.raises(InputError, match=r"bad\.csv: .*Row #3"):
        download.run(str(bad), str(out), chosen, ONE_PROCESS)
    with pytest.raises(InputError, match=r"`allow_hosts`: 'host' is not HOST:PORT"):
        download.run(str(bad), str(out), DownloadOptions(allow_hosts=("host",)), ONE_PROCESS)
    assert not out.exists() or not any(out.rglob("*.*"))
    bad.write_text("url,caption\nhttp://127.0.0.1:1/a,b\n")
    with pytest.raises(BudgetError, match="none of 1 pairs came; 1 failed with connection_error"):
        download.run(str(bad), str(out), chosen, ONE_PROCESS)


def test_a_bad_uid_is_the_workers_find_and_the_users_error(tmp_path):
    path = parquet(tmp_path, pa.table({"url": ["u", "u"], "caption": ["c", "c"], "uid": ["0" * 32, "7"]}))
    with pytest.raises(InputError, match=r"pairs\.parquet: row 2: uid '7' is not 32 hex digits") as error:
        download.run(path, str(tmp_path / "shards"), options("http://127.0.0.1:1"), ONE_PROCESS)
    assert "\n" not in str(error.value)
