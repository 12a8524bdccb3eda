"""Where a command reports to ends no command: closed, full, or left by its reader."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import CLIPSIEVE

TAILS = {
    "both open": ("", 0),
    "stdout closed": (">&-", 0),
    "stderr closed": ("2>&-", 0),
    "both closed": (">&- 2>&-", 0),
    "all closed": ("<&- >&- 2>&-", 0),
    "stdout full": (">/dev/full", 1),
    "stderr full": ("2>/dev/full", 0),
    "both full": (">/dev/full 2>/dev/full", 1),
    "stdout full, stderr closed": (">/dev/full 2>&-", 1),
    "reader gone": ("| head -c 0", 0),
    "readers gone": ("2>&1 | head -c 0", 0),
}


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scores")
    uids = [f"{number:032x}" for number in range(40)]
    pq.write_table(pa.table({"uid": uids, "similarity": np.linspace(0, 1, 40, dtype=np.float32)}), folder / "0.parquet")
    return folder


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("where", TAILS)
def test_help_is_said_wherever_it_can_be(where: str) -> None:
    tail, status = TAILS[where]
    done = shell(f"'{CLIPSIEVE}' --help {tail}")
    assert done.returncode == status
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    if where == "stdout full":
        assert done.stderr == "clipsieve: standard output: No space left on device; the command's work is done\n"


def test_a_job_is_done_wherever_it_reports_to(scores: Path, tmp_path: Path) -> None:
    """The whole of a stage, its progress and its line; nothing that it says lands in its files."""
    made = {}
    for where in ("both open", "all closed", "both full", "readers gone"):
        out = tmp_path / where
        tail, status = TAILS[where]
        done = shell(f"'{CLIPSIEVE}' select --scores '{scores}' --out '{out}' --fraction 50 {tail}")
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        made[where] = {path.name: path.read_bytes() for path in (out / "subsets").iterdir()}
    assert len(made["both open"]) >= 2
    for found in made.values():
        assert found["top50.npy"] == made["both open"]["top50.npy"]


@pytest.mark.parametrize("where", ["stderr closed", "stderr full", "both closed", "both full"])
def test_an_error_keeps_its_status(where: str) -> None:
    assert shell(f"'{CLIPSIEVE}' verify /nowhere {TAILS[where][0]}").returncode == 2


@pytest.mark.parametrize("name", ["\x1b[2J", "\x9b31m", "a\rb", "\u202egpj", "[bold]x[/]"])
def test_an_errors_one_line_is_one_line(name: str) -> None:
    done = subprocess.run([CLIPSIEVE, "verify", f"/nowhere/{name}"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and done.stderr[:-1].isprintable()


def test_an_encoding_that_lacks_a_character_ends_nothing() -> None:
    done = shell(f"PYTHONIOENCODING=ascii '{CLIPSIEVE}' verify /nowhere/猫")
    assert (done.returncode, done.stderr) == (2, "clipsieve: /nowhere/\\u732b: no such folder\n")


def test_an_error_of_the_system_is_one_line(tmp_path: Path, scores: Path) -> None:
    shutil.copytree(scores, tmp_path / "scores")
    (tmp_path / "out").write_bytes(b"a file")
    done = shell(f"'{CLIPSIEVE}' select --scores '{tmp_path}/scores' --out '{tmp_path}/out' --fraction 50")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr and str(tmp_path / "out") in done.stderr
