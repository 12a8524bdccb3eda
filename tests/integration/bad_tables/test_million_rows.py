from __future__ import annotations

import os
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc

from tests.integration.bad_tables.files import manifest_of, parquet


def test_a_million_rows_of_one_host_are_begun_at_once_and_stopped_by_the_budget(web, tmp_path):
    """No path of the rows is there: the download stops soon after the first 101 failures, in bounded memory."""
    numbers = pa.array(range(1_000_000)).cast(pa.string())
    urls = pc.binary_join_element_wise(f"{web}/missing", numbers, "-")
    path = parquet(tmp_path, {"url": urls, "caption": numbers})
    command = [sys.executable, "-m", "clipsieve", "download", "--pairs", path, "--out", tmp_path / "shards"]
    command += ["--allow-host", web.removeprefix("http://"), "--max-failure-share", "0.0001"]
    with (tmp_path / "err").open("w+") as err, subprocess.Popen(command, stderr=err) as running:
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        err.seek(0)
        *_, message = err.read().splitlines()
    assert running.returncode == 3, message
    assert re.search(r"max_failure_share 0\.0001 allows", message)
    assert usage.ru_maxrss < 1 << 20  # KiB: a GiB, of the largest of its processes
    assert not manifest_of(tmp_path).complete
    assert len(list((tmp_path / "shards").glob("*.tar"))) < 10
