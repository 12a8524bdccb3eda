"""A small cell of the study of recall (`benchmarks.drift_recall`): planted drift among real drawings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.drift_pool import PAIRS_A_PLACEHOLDER, plant, verdicts, write_pool
from benchmarks.drift_recall import study

LAB = os.environ.get("CLIPSIEVE_LAB_DATA")
EACH = 50


@pytest.mark.skipif(LAB is None, reason="CLIPSIEVE_LAB_DATA names no folder with openclipart.parquet")
def test_planted_drift_is_found_and_re_encoded_images_are_not_accused(tmp_path: Path) -> None:
    planted = plant(Path(str(LAB)), 180, EACH, seed=0)
    write_pool(planted, tmp_path, ["--runner=FnApiRunner"])
    found = study(planted, tmp_path, (), "all")
    assert found["placeholder"] == (EACH, EACH) and EACH % PAIRS_A_PLACEHOLDER == 0
    assert found["swapped"][0] >= EACH - 1 and found["expired"] == (EACH // 10, EACH // 10)
    assert found["re-encoded"][0] <= 1 and found["untouched"][0] == 0
    told = verdicts(tmp_path / "drift" / "all")
    of_kind = {kind: {told[each.uid] for each in planted if each.kind == kind} for kind in ("untouched", "placeholder")}
    assert of_kind == {"untouched": {"same"}, "placeholder": {"placeholder"}}
