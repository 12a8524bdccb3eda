from __future__ import annotations

import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc

from tests.integration.bad_tables.files import manifest_of, parquet

# A process that was forked inherits ru_maxrss; VmHWM is its own.
MEASURED = """
import atexit, pathlib, sys
from clipsieve import cli
status = sys.argv.pop(1)
atexit.register(lambda: pathlib.Path(status).write_bytes(pathlib.Path("/proc/self/status").read_bytes()))
cli.main()
"""


def test_a_million_rows_of_one_host_are_begun_at_once_and_stopped_by_the_budget(web, tmp_path):
    """No path of the rows is there: the download stops soon after the first 101 failures, in bounded memory."""
    numbers = pa.array(range(1_000_000)).cast(pa.string())
    urls = pc.binary_join_element_wise(f"{web}/missing", numbers, "-")
    path = parquet(tmp_path, {"url": urls, "caption": numbers})
    command = [sys.executable, "-c", MEASURED, tmp_path / "status", "download"]
    command += ["--pairs", path, "--out", tmp_path / "shards"]
    command += ["--allow-host", web.removeprefix("http://"), "--max-failure-share", "0.0001"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    *_, message = ran.stderr.splitlines()
    assert ran.returncode == 3, message
    assert re.search(r"--max-failure-share 0\.0001 allows", message)
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", (tmp_path / "status").read_text())
    assert int(peak) < 1 << 20  # a GiB, of the driver; its workers hold a few thousand rows
    assert not manifest_of(tmp_path).complete
    assert len(list((tmp_path / "shards").glob("*.tar"))) < 10
