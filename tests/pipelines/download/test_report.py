from __future__ import annotations

import threading

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from clipsieve.pipelines.download.report import (
    JobStoppedError,
    is_stopped,
    progress_path,
    read_report,
    report_shard,
    stop_path,
)
from clipsieve.schemas import files


def wait_for(condition):
    while not (found := condition()):
        threading.Event().wait(0.01)
    return found


def test_a_worker_tells_how_far_its_shard_is_and_takes_it_back_at_the_end(tmp_path):
    out = str(tmp_path)
    with report_shard(out, "00003", duplicates=2) as tally:
        tally.add(None, 200)
        tally.add("http_error", 404)
        told = wait_for(lambda: read_report(progress_path(out, "00003")))
        assert [path.name for path in tmp_path.iterdir()] == [".00003.tmp.progress"]
    assert told == {"duplicates": 2, "success": 1, "http_error 404": 1}
    assert list(tmp_path.iterdir()) == []
    assert read_report(progress_path(out, "00003")) is None


def test_a_shard_that_fails_leaves_no_report(tmp_path):
    with pytest.raises(KeyError), report_shard(str(tmp_path), "00003", 0) as tally:
        tally.add(None, 200)
        wait_for(lambda: list(tmp_path.iterdir()))
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_an_order_to_stop_reaches_the_shard_at_work_and_those_that_follow(tmp_path):
    out = str(tmp_path)
    with pytest.raises(JobStoppedError), report_shard(out, "00003", 0) as tally:
        tally.add(None, 200)
        files.write_bytes(stop_path(out), b"too many failures\n")
        wait_for(lambda: tally.is_stopped)
        tally.add(None, 200)
    assert is_stopped(out)
    with pytest.raises(JobStoppedError), report_shard(out, "00004", 0):
        pytest.fail("a shard was begun after the order to stop")


def _write_shard(name, out, ends):
    with report_shard(out, name, duplicates=3) as tally:
        for error_class, http_status in ends:
            tally.add(error_class, http_status)
    return name


def _fail_shard(name, out):
    with pytest.raises(KeyError), report_shard(out, name, duplicates=0) as tally:
        tally.add("dns_error", None)
        raise KeyError
    return name


def test_beams_counters_bear_the_classes_names_and_count_written_shards_alone(tmp_path):
    out = str(tmp_path)
    ends = [(None, 200), (None, 200), ("http_error", 404), ("http_error", 500), ("timeout", None)]
    pipeline = beam.Pipeline(FnApiRunner())
    names = pipeline | beam.Create(["00000", "00001"])
    _ = names | "Write" >> beam.Map(_write_shard, out, ends)
    _ = names | "Fail" >> beam.Map(_fail_shard, out)
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(MetricsFilter().with_namespace("download"))["counters"]
    assert {counter.key.metric.name: counter.committed for counter in counters} == {
        "success": 4,
        "http_error": 4,
        "timeout": 2,
        "duplicates": 6,
    }
