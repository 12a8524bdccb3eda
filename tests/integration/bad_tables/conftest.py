from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clipsieve.pipelines.quickstart.web import Page, serve
from clipsieve.schemas.values import python_rows
from tests.integration.bad_tables.files import PICTURE

ONE_PROCESS = ("--", "--runner=FnApiRunner")


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """A server that has a picture at a few paths, and nothing anywhere else."""
    paths = ("/a.png", "/b.png", "/snö man.png", "/100%.png", "/x")
    with serve({path: Page(PICTURE) for path in paths}) as base:
        yield base


@pytest.fixture
def download(command: Callable, tmp_path: Path) -> Callable:
    """download(table, *flags) -> how the command ended."""

    def run(table: Path, *flags: str):
        return command("download", "--pairs", table, "--out", tmp_path / "shards", *flags, *ONE_PROCESS)

    return run


@pytest.fixture
def rows_of(download: Callable, web: str, tmp_path: Path) -> Callable:
    """rows_of(table, *flags) -> the rows that the table's download ends with."""

    def run(table: Path, *flags: str) -> list[dict]:
        host = web.removeprefix("http://")
        ended = download(table, "--allow-host", host, "--attempts", "1", "--no-robots-txt", *flags)
        tables = [pq.read_table(path) for path in sorted((tmp_path / "shards").glob("*.parquet"))]
        rows = [row for table in tables for row in python_rows(table)]
        assert ended.status == (0 if any(row["status"] == "success" for row in rows) else 3), ended.err
        return rows

    return run
