"""A download on a disk that fills up, and that is run again when there is room."""

from __future__ import annotations

import re
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.integration.interruption.namespaces import namespace
from tests.integration.interruption.runs import Job, Whole, begun, content, finish


@pytest.mark.parametrize("share", [0.05, 0.5, 0.98])
def test_a_full_disk_ends_the_job_with_one_line(job: Job, whole: Whole, tmp_path: Path, share: float) -> None:
    """On a tmpfs of that share of the room that the whole folder takes, and then on a larger one."""
    out, disk = tmp_path / "disk" / "shards", tmp_path / "disk"
    disk.mkdir()
    with namespace("--mount") as enter:
        run = partial(subprocess.run, capture_output=True, text=True)
        mounted = run([*enter, "mount", "-t", "tmpfs", "-o", f"size={int(whole.room * share)}", "none", str(disk)])
        assert mounted.returncode == 0, mounted.stderr
        with begun([*enter, *job.command(out)]) as running:
            status, line = running.ended()
        assert status == 1
        assert re.fullmatch(rf"clipsieve: {out}/\S+: cannot be written: No space left on device; fix .*", line), line
        names = run([*enter, "find", str(out), "-name", ".*"])
        assert (names.stdout, names.stderr) == ("", "")
        run([*enter, "mount", "-o", "remount,size=1G", str(disk)], check=True)
        finish([*enter, *job.command(out)])
        run([*enter, "cp", "-r", str(out), str(tmp_path / "copy")], check=True)
    assert content(tmp_path / "copy") == whole.content
