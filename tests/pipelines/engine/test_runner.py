"""Errors come back from workers as themselves, at once, and nothing but them reaches the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

JOB = """
import sys

from clipsieve import pipelines
import apache_beam as beam
from failing import fail
from clipsieve.pipelines.engine import runner

tasks, *kinds = sys.argv[1:]
for kind in kinds:
    if kind == "start":
        sys.executable = "/bin/false"
    elements = [(0, kind), (1, kind)]  # one for each of two workers
    try:
        runner.run_job(lambda p: p | beam.Create(elements) | beam.GroupByKey() | beam.Map(fail), int(tasks))
    except Exception as error:
        print(type(error).__name__, "|", *str(error).splitlines()[-1:], "|", "a bug" in str(error))
"""

FAIL = """
import os
import signal
import time

from clipsieve.schemas.errors import BudgetError, InputError


def fail(element):
    number, (kind,) = element
    if number == 0 and kind.endswith("alone"):
        time.sleep(10_000)
    if kind == "input":
        raise InputError("shards/00000.tar: damaged: at byte 12 [while] reading; fix it")
    if kind == "chained alone":
        try:
            raise InputError("not this one")
        except InputError as error:
            raise BudgetError("3 of 4 rows failed") from error
    if kind == "disk":
        raise OSError(28, "No space left on device", "/tmp/scratch")
    if kind == "killed alone":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exit alone":
        os._exit(3)
    raise ValueError("a bug")
"""

INPUT = "InputError | shards/00000.tar: damaged: at byte 12 [while] reading; fix it | False"
BUDGET = "BudgetError | 3 of 4 rows failed | False"
DISK = "ClipsieveError | No space left on device: '/tmp/scratch' | False"
DIED = "ClipsieveError | a worker process died ({}); run the same command again to resume | False"


ELSEWHERE = """
import sys

import apache_beam as beam
from clipsieve.pipelines.engine import runner

for words in sys.argv[1:]:
    try:
        runner.run_job(lambda p: p | beam.Create([1]), 1, words.split())
    except Exception as error:
        print(type(error).__name__, "|", error)
"""


def run_jobs(folder: Path, *arguments: str) -> list[str]:
    """Run a job of each kind in one process; returns what it printed, a line each."""
    (folder / "failing.py").write_text(FAIL)
    (folder / "job.py").write_text(JOB)
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{Path(__file__).parents[3]}"}
    command = [sys.executable, str(folder / "job.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("tasks", ["1", "2"])
def test_errors_come_back_as_themselves_and_nothing_else_is_printed(tmp_path: Path, tasks: str) -> None:
    """In one process and in two workers; a bug of our own keeps its text."""
    *ours, bug = run_jobs(tmp_path, tasks, "input", "disk", "bug")
    assert ours == [INPUT, DISK]
    assert bug.endswith("| True")


def test_the_first_worker_that_fails_or_dies_ends_the_job(tmp_path: Path) -> None:
    """The other one would be at work for hours."""
    assert run_jobs(tmp_path, "2", "chained alone", "killed alone", "exit alone", "start") == [
        BUDGET,
        DIED.format("SIGKILL: out of memory?"),
        DIED.format("exit status 3"),
        DIED.format("exit status 1"),
    ]


def test_a_runner_elsewhere_that_does_not_take_the_job_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(ELSEWHERE)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PATH": "/nowhere"}
    given = [
        "--runner=PortableRunner",
        "--runner=PortableRunner --job_endpoint=127.0.0.1:1 --job_server_timeout=1",
        "--runner=PortableRunner --job_endpoint=nowhere.invalid:1 --job_server_timeout=1",
        "--runner=SparkRunner --spark_submit_uber_jar",
        "--runner=NoSuchRunner",
        "--runner=nowhere.NoSuchRunner",
    ]
    command = [sys.executable, str(tmp_path / "job.py"), *given]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == len(given), done.stderr
    for line, words in zip(lines, given, strict=True):
        assert line.startswith(f"InputError | {words}: ")
