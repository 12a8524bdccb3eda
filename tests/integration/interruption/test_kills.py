"""A download that a signal or a death ends, and that is run again, ends as one that nothing disturbed (law 2)."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.pipelines.verify import job as verify
from tests.integration.interruption.runs import SHARD_SIZE, Job, Whole, begun, content, finish, is_alive, wait_for

KILLS = 20


def test_killed_at_20_moments_and_run_again(job: Job, whole: Whole, tmp_path: Path) -> None:
    """One kill in each twentieth of the time that a whole run takes, in a shuffled order.

    A run that ends before its moment is compared, and the next one begins a new folder. A machine that was slower when
    the whole run was timed would never come to the last moments: then the time is that of the run that has ended.
    """
    draw = random.Random(0)
    shares = [(slot + draw.random()) / KILLS for slot in range(KILLS)]
    draw.shuffle(shares)
    finished, seconds = 0, whole.seconds
    while shares:
        out = tmp_path / f"run{finished}" / "shards"
        is_new, began = not out.exists(), time.monotonic()
        with begun(job.command(out)) as running:
            try:
                running.process.wait(shares[-1] * seconds)
            except subprocess.TimeoutExpired:
                running.kill_group()
                shares.pop()
                continue
            assert running.ended()[0] == 0
        if is_new:
            seconds = min(seconds, time.monotonic() - began)
        assert content(out) == whole.content
        finished += 1
    out = tmp_path / f"run{finished}" / "shards"
    finish(job.command(out))
    assert content(out) == whole.content
    assert list(verify.run(str(out.parent)))


@pytest.mark.parametrize(
    ("number", "status", "beam_options"),
    [(signal.SIGINT, 130, ()), (signal.SIGTERM, 143, ()), (signal.SIGTERM, 143, ("--", "--runner=FnApiRunner"))],
    ids=["SIGINT", "SIGTERM", "SIGTERM, one process"],
)
def test_a_signal_ends_all_with_one_line(
    job: Job, whole: Whole, tmp_path: Path, number: signal.Signals, status: int, beam_options: tuple[str, ...]
) -> None:
    """As a terminal or a service manager sends it: to every process of the job."""
    out = tmp_path / "shards"
    with begun(job.command(out, *beam_options)) as running:
        workers = running.until_at_work(out)
        os.killpg(running.process.pid, number)
        line = f"clipsieve: stopped by {number.name}; run the same command again to resume"
        assert running.ended() == (status, line)
    assert not any(map(is_alive, workers))
    assert list(out.glob(".*")) == []
    finish(job.command(out))
    assert content(out) == whole.content


@pytest.mark.parametrize("rows", [20, 2 * SHARD_SIZE + 20], ids=["one process", "two processes"])
def test_a_signal_waits_for_no_server(tmp_path: Path, rows: int) -> None:
    """Rows whose deadline is an hour away, of a server that takes connections and never says a word."""
    out = tmp_path / "shards"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "127.0.0.1:{1}".format(*silent.getsockname())
        urls = [f"http://{address}/{row}.png" for row in range(rows)]
        pq.write_table(pa.table({"url": urls, "caption": urls}), tmp_path / "pairs.parquet")
        patience = ("--no-robots-txt", "--read-timeout", "3600", "--total-timeout", "3600")
        with begun(Job(tmp_path / "pairs.parquet", address).command(out, *patience)) as running:
            wait_for(lambda: any(out.glob(".*.tar.tmp.*")))
            running.process.send_signal(signal.SIGINT)
            assert running.ended() == (130, "clipsieve: stopped by SIGINT; run the same command again to resume")
    assert list(out.glob(".*")) == []


def test_a_worker_process_killed_ends_the_job_with_one_line(job: Job, whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    with begun(job.command(out)) as running:
        workers = running.until_at_work(out)
        os.kill(workers[0], signal.SIGKILL)
        line = "a worker process died (SIGKILL: out of memory?); run the same command again to resume"
        assert running.ended() == (1, f"clipsieve: {line}")
    assert not any(map(is_alive, workers))
    assert list(out.glob(".*")) == []
    finish(job.command(out))
    assert content(out) == whole.content


def test_workers_do_not_outlive_a_killed_driver(job: Job, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    with begun(job.command(out)) as running:
        workers = running.until_at_work(out)
        running.process.kill()
        wait_for(lambda: not any(map(is_alive, workers)))
