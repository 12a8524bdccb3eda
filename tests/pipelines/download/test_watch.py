from __future__ import annotations

import io
import json
import uuid
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipsieve.pipelines.download import job as download
from clipsieve.pipelines.download.report import progress_path, stop_path
from clipsieve.pipelines.download.watch import ShardWatch, watched
from clipsieve.pipelines.quickstart.web import Behaviour, Page, serve
from clipsieve.pipelines.shards.writer import ShardStats, stats_path
from clipsieve.schemas import files
from clipsieve.schemas.errors import BudgetError
from clipsieve.schemas.options import DownloadOptions

ONE_PROCESS = ("--runner=FnApiRunner",)


def write_stats(out, name, ends, duplicates=0):
    stats = ShardStats(
        count=sum(ends.values()),
        successes=ends.get("success", 0),
        failed_to_download=0,
        failed_to_resize=0,
        duration=0.0,
        start_time=0.0,
        end_time=0.0,
        status_dict=ends,
        duplicates=duplicates,
        error_classes={},
        tar_xxh3="",
        rows_digest="",
    )
    files.write_bytes(stats_path(out, name), json.dumps(asdict(stats)).encode())


def write_report(out, name, ends):
    files.write_bytes(progress_path(out, name), json.dumps(ends).encode())


@pytest.fixture(params=["local", "memory"])
def out(request, tmp_path):
    """A local folder, and one of a filesystem without folders."""
    return str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}"


def test_finished_shards_and_those_at_work_are_added_up_once(out):
    watch = ShardWatch(out, ["00000", "00001", "00002"])
    assert watch.look() == {}
    write_stats(out, "00000", {"success": 6, "timeout": 2}, duplicates=2)
    write_report(out, "00001", {"success": 3})
    assert watch.look() == {"success": 9, "timeout": 2, "duplicates": 2}
    assert watch.shards_finished == 1

    files.filesystem(out)[0].rm_file(files.filesystem(progress_path(out, "00001"))[1])
    assert watch.look()["success"] == 9, "the shard was written, but its stats not yet"

    write_stats(out, "00001", {"success": 9, "http_error 404": 1})
    write_report(out, "00001", {"success": 9})
    write_report(out, "99999", {"success": 100})
    assert watch.look() == {"success": 15, "timeout": 2, "http_error 404": 1, "duplicates": 2}
    assert watch.shards_finished == 2


def test_a_killed_runs_reports_and_order_to_stop_are_forgotten(out):
    write_report(out, "00000", {"timeout": 10})
    files.write_bytes(stop_path(out), b"too many failures\n")
    with watched("download", out, ["00000"], 10, 0.0):
        assert not files.exists(stop_path(out))
        assert not files.exists(progress_path(out, "00000"))


def test_a_budget_that_is_broken_when_all_is_done_is_left_to_the_final_check(out):
    with watched("download", out, ["00000"], 10, 0.5):
        write_stats(out, "00000", {"timeout": 10})
    assert not files.exists(stop_path(out))


def test_a_download_stops_when_its_budget_is_broken_and_goes_on_with_a_larger_one(tmp_path):
    """Two shards of missing pages, two that stall meanwhile, one of sound pages that must not be begun."""
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, "PNG")
    pages = {"/sound.png": Page(stream.getvalue(), Behaviour.OK), "/stall.png": Page(b"-", Behaviour.STALL)}
    names = ["none.png"] * 10 + ["stall.png"] * 10 + ["sound.png"] * 5
    path, stopped, whole = str(tmp_path / "pairs.parquet"), tmp_path / "stopped", tmp_path / "whole"
    with serve(pages) as base:
        urls = [f"{base}/{name}?{number}" for number, name in enumerate(names)]
        pq.write_table(pa.table({"url": urls, "caption": names}), path)
        options = DownloadOptions(
            shard_size=5,
            attempts=1,
            read_timeout=4,
            robots_txt=False,
            max_failure_share=0.3,
            allow_hosts=(base.removeprefix("http://"),),
        )
        message = (
            r"stopped early: 10 of 10 pairs failed so far \(100\.0% of them: http_error 404 100%\), more than "
            r"`max_failure_share` 0\.3 allows of 25 rows; finished shards are kept \(2 of 5\)"
        )
        with pytest.raises(BudgetError, match=message):
            download.run(path, str(stopped), options, ONE_PROCESS)
        assert [file.name for file in sorted(stopped.glob("*.tar"))] == ["00000.tar", "00001.tar"]
        assert list(stopped.glob(".*")) == []

        larger = options.model_copy(update={"max_failure_share": 1.0, "read_timeout": 2})
        done = download.run(path, str(stopped), larger, ONE_PROCESS)
        assert done.counts.shown["success"] == 5
        assert done.digest == download.run(path, str(whole), larger, ONE_PROCESS).digest
