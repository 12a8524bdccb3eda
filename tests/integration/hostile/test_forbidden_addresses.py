"""The same download where every forbidden address is really there to be met, and names lead to them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[3]
ISOLATED = ("unshare", "--user", "--map-root-user", "--net")


def test_no_name_or_redirect_leads_to_a_forbidden_address(tmp_path: Path) -> None:
    if subprocess.run([*ISOLATED, "ip", "link", "set", "lo", "up"], capture_output=True).returncode:
        pytest.skip("this system permits no network namespace")
    command = [*ISOLATED, sys.executable, "-m", "tests.integration.hostile.isolated", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert len(seen["met"]) == 19
    assert seen["trespasses"] == []
    rows = pq.read_table(tmp_path / "shards" / "00000.parquet").to_pylist()
    assert [row["caption"] for row in rows] == list(seen["ends"])
    wrong = {
        row["caption"]: (row["error_class"], row["error_message"])
        for row in rows
        if row["error_class"] not in seen["ends"][row["caption"]]
    }
    assert wrong == {}
