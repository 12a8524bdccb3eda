"""Errors come back from workers as themselves, and nothing but them reaches the terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

JOB = """
import pipelines
import apache_beam as beam
from failing import fail
from pipelines import engine
from schemas.errors import ClipsieveError

tasks, kind, *beam_args = sys.argv[1:]
try:
    engine.run_job(lambda p: p | beam.Create(range(2)) | beam.Map(fail, kind), int(tasks), beam_args)
except Exception as error:
    print(type(error).__name__, str(error).splitlines()[0 if isinstance(error, ClipsieveError) else -1])
"""

FAIL = """
from schemas.errors import BudgetError, InputError


def fail(number, kind):
    if kind == "input":
        raise InputError("shards/00000.tar: damaged: at byte 12 [while] reading; mend it")
    if kind == "chained":
        try:
            raise InputError("not this one")
        except InputError as error:
            raise BudgetError("3 of 4 rows failed") from error
    raise ValueError("a bug")
"""


def run_job(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "failing.py").write_text(FAIL)
    (folder / "job.py").write_text(f"import sys\n{JOB}")
    environment = {"PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}", "PATH": ""}
    command = [sys.executable, str(folder / "job.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("tasks", ["1", "2"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("input", "InputError shards/00000.tar: damaged: at byte 12 [while] reading; mend it\n"),
        ("chained", "BudgetError 3 of 4 rows failed\n"),
    ],
)
def test_our_errors_come_back_as_themselves_alone(
    tmp_path: Path, tasks: str, kind: str, message: str
) -> None:
    done = run_job(tmp_path, tasks, kind)
    assert (done.stdout, done.stderr) == (message, "")


@pytest.mark.parametrize("tasks", ["1", "2"])
def test_a_bug_keeps_its_text(tmp_path: Path, tasks: str) -> None:
    done = run_job(tmp_path, tasks, "bug")
    assert "a bug" in done.stdout and done.stderr == ""
