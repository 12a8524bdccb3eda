from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipsieve.pipelines.quickstart.web import Behaviour, Page, serve
from tests.integration.interruption.runs import SHARD_SIZE, Job, Whole, content, finish, noisy_png

SHARDS = 12
TROUBLED = (
    Behaviour.WRONG_TYPE,
    Behaviour.REDIRECT,
    Behaviour.REDIRECT_LOOP,
    Behaviour.REDIRECT_PRIVATE,
    Behaviour.NOT_FOUND,
    Behaviour.HTML,
    Behaviour.NOAI,
    Behaviour.TRUNCATED,
    Behaviour.OVERSIZED,
)


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """480 rows in 12 shards; two of five pages are troubled, and some rows repeat one of another shard."""
    rows = SHARDS * SHARD_SIZE
    kinds = [TROUBLED[row // 5 % len(TROUBLED)] if row % 5 < 2 else Behaviour.OK for row in range(rows)]
    pages = {f"/{row}.png": Page(noisy_png(row), kind) for row, kind in enumerate(kinds)}
    path = tmp_path_factory.mktemp("interruption") / "pairs.parquet"
    with serve(pages) as base:
        numbers = [row - 37 if row % 50 == 49 else row for row in range(rows)]
        urls = [f"{base}/{number}.png" for number in numbers]
        pq.write_table(pa.table({"url": urls, "caption": [f"picture {number}" for number in numbers]}), path)
        yield Job(path, base.removeprefix("http://"))


@pytest.fixture(scope="session")
def whole(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    out, start = tmp_path_factory.mktemp("whole") / "shards", time.monotonic()
    finish(job.command(out))
    seconds = time.monotonic() - start
    assert len(list(out.glob("*_stats.json"))) == SHARDS
    blocks = sum(path.stat().st_blocks for path in out.rglob("*"))
    return Whole(content(out), blocks * 512, seconds)
