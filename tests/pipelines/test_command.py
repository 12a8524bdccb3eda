"""A job as `python -m`: flags from its options, Beam's behind ``--``, one line and a status for an error."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.pipelines.command import run_command
from clipsieve.pipelines.download import job as download
from clipsieve.pipelines.select import job as select
from clipsieve.schemas.manifest import read_manifest
from clipsieve.schemas.options import DownloadOptions, SelectOptions


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    (tmp_path / "scores").mkdir()
    table = pa.table({"uid": [f"{row:032x}" for row in range(10)], "similarity": [row / 10 for row in range(10)]})
    pq.write_table(table, tmp_path / "scores" / "00000.parquet")
    return tmp_path / "scores"


def command(*arguments: str) -> int:
    return run_command(select.run, ("scores", "out"), SelectOptions, arguments)


def test_flags_and_beam_options(scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = scores.parent
    paths = ["--scores", str(scores), "--out", str(out)]
    assert command(*paths, "--fractions", "30", "--sizes", "4", "7", "--", "--runner=FnApiRunner") == 0
    assert capsys.readouterr().out == "pairs 10, eligible 10\n"
    assert pq.read_metadata(out / "subsets" / "top30.parquet").num_rows == 3
    assert pq.read_metadata(out / "samples" / "7.parquet").num_rows == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fractions", "many"], "fractions.0: Input should be a valid number"),
        (["--sizes", "1M"], "a sample of 1M"),
    ],
)
def test_an_error_is_one_line_and_status_two(
    scores: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    paths = ["--scores", str(scores), "--out", str(scores.parent)]
    assert command(*paths, *arguments, "--", "--runner=FnApiRunner") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("clipsieve.pipelines.select.job: ") and message in last


def test_a_flag_that_is_on_can_be_switched_off(scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what a job takes beyond its options is a flag too."""
    table, out = scores.parent / "pairs.parquet", scores.parent / "shards"
    pq.write_table(pa.table({"url": ["ftp://x/y"], "caption": ["x"]}), table)
    arguments = ["--pairs", str(table), "--out", str(out), "--no-robots-txt", "--skip-reencode", "--dns-servers", "::1"]
    download_command = partial(run_command, download.run, ("pairs", "out"), DownloadOptions)
    assert download_command([*arguments, "--", "--runner=FnApiRunner"]) == 0
    found = read_manifest(str(out))
    assert found is not None
    assert (found.asked["robots_txt"], found.asked["skip_reencode"], found.asked["verify_sha256"]) == (
        False,
        True,
        True,
    )
    assert found.asked["dns_servers"] == ["::1"]
    assert download_command([*arguments, "--retry-failed", "--", "--runner=FnApiRunner"]) == 0
    assert "there is nothing to retry" in capsys.readouterr().err


def test_a_path_must_be_given(scores: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        command("--scores", str(scores))
    assert stopped.value.code == 2
