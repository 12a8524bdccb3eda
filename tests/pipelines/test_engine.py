"""Errors come back from workers as themselves, and nothing but them reaches the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

JOB = """
import sys

import pipelines
import apache_beam as beam
from failing import fail
from pipelines import engine

for kind in ("input", "chained", "bug"):
    try:
        engine.run_job(lambda p: p | beam.Create(range(2)) | beam.Map(fail, kind), int(sys.argv[1]))
    except Exception as error:
        print(type(error).__name__, "|", *str(error).splitlines()[-1:], "|", "a bug" in str(error))
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


@pytest.mark.parametrize("tasks", ["1", "2"])
def test_errors_come_back_as_themselves_and_nothing_else_is_printed(tmp_path: Path, tasks: str) -> None:
    """In one process and in two workers; a bug of our own keeps its text."""
    (tmp_path / "failing.py").write_text(FAIL)
    (tmp_path / "job.py").write_text(JOB)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    command = [sys.executable, str(tmp_path / "job.py"), tasks]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "InputError | shards/00000.tar: damaged: at byte 12 [while] reading; mend it | False",
        "BudgetError | 3 of 4 rows failed | False",
    ]
    assert len(lines) == 3 and lines[2].endswith("| True")
