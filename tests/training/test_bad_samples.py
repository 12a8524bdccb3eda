"""Runs on shards of which samples cannot be read: they are listed and replaced, or too many of them end the run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.errors import BudgetError, SignalError
from clipsieve.schemas.files import sha256_file
from clipsieve.schemas.models import WEIGHTS_NAME
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, read_table
from clipsieve.schemas.training_data import BAD_SAMPLES_NAME
from clipsieve.training import bad_samples
from clipsieve.training.card import CARD_NAME
from clipsieve.training.data import loader
from clipsieve.training.train import run
from tests.commands import torchrun
from tests.training.terminal import Terminal


@pytest.fixture
def options(tower_file):
    """A hundred steps of 12, of 46 pairs."""
    return TrainOptions(tower=tower_file, samples=1200, batch_size=12, warmup_steps=2, log_steps=1, checkpoint_steps=40)


@pytest.fixture
def damaged(shards, rows, tmp_path):
    """A copy of the shards with one JPEG zeroed and one tar cut; and the rows of those that are lost."""
    folder = shutil.copytree(shards, tmp_path / "shards")
    downloaded = [row for row in rows if row["status"] == "success"]
    zeroed = next(row for row in downloaded if row["key"].startswith("00000") and row["tar_offset"])
    with (folder / "00000.tar").open("r+b") as tar:
        tar.seek(zeroed["tar_offset"] + 512)
        tar.write(bytes(300))
    cut = [row for row in downloaded if row["key"].startswith("00001")][-3:]
    os.truncate(folder / "00001.tar", cut[0]["tar_offset"] + 600)
    return str(folder), [zeroed, *cut]


def listed(out):
    return list(map(json.loads, Path(out, BAD_SAMPLES_NAME).read_text().splitlines()))


def places(rows):
    return {(row["uid"], row["shard"], row["key"], row["offset"]) for row in rows}


def losses(out):
    log = read_table(f"{out}/{TRAIN_LOG_NAME}", TRAIN_LOG)
    return list(zip(log["step"].to_pylist(), log["loss"].to_pylist(), strict=True)), log["bad_samples"].to_pylist()


def test_a_zeroed_jpeg_and_a_cut_tar_are_listed_and_the_run_ends(damaged, options, tmp_path):
    folder, lost = damaged
    out = str(tmp_path / "model")
    counts = run(folder, (), out, options).counted(TrainCounts)
    assert (counts.steps, counts.samples_seen, counts.pairs) == (100, 1200, 46)
    assert (counts.bad_samples, counts.unique_samples) == (4, 42)
    assert places(listed(out)) == {(row["uid"], f"{row['key'][:5]}.tar", row["key"], row["tar_offset"]) for row in lost}
    reasons = {row["key"]: row["reason"] for row in listed(out)}
    assert "cannot be decoded" in reasons[lost[0]["key"]] and "is truncated" in reasons[lost[1]["key"]]
    assert losses(out)[1][-1] == 4
    assert "4 pairs could not be read" in Path(out, CARD_NAME).read_text()
    again = run(folder, (), str(tmp_path / "again"), options.model_copy(update={"workers": 2}))
    assert again.digest == sha256_file(f"{out}/{WEIGHTS_NAME}")
    assert listed(tmp_path / "again") == listed(out)


def test_the_list_and_the_places_survive_a_stop_and_a_kill(damaged, options, tmp_path, monkeypatch):
    folder, _ = damaged
    options = options.model_copy(update={"samples": 180, "checkpoint_steps": 4})
    whole, stopped = str(tmp_path / "whole"), str(tmp_path / "stopped")
    digest = run(folder, (), whole, options).digest

    def die():
        raise KeyboardInterrupt

    for step, action, end in (
        (2, lambda: os.kill(os.getpid(), signal.SIGTERM), SignalError),
        (7, die, KeyboardInterrupt),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Terminal(step, action))
            with pytest.raises(end):
                run(folder, (), stopped, options)
    assert run(folder, (), stopped, options).digest == digest
    assert listed(stopped) == listed(whole) and losses(stopped) == losses(whole)


def test_more_than_the_budget_end_the_run_after_a_checkpoint(damaged, options, tmp_path, monkeypatch):
    folder, _ = damaged
    options = options.model_copy(update={"samples": 120})
    whole, out = str(tmp_path / "whole"), str(tmp_path / "model")
    digest = run(folder, (), whole, options).digest
    fourth = listed(whole)[3]["step"]
    assert fourth > 1
    monkeypatch.setattr(bad_samples, "ALWAYS_ALLOWED", 3)
    with pytest.raises(BudgetError, match=rf"bad_samples.jsonl: 4 samples cannot .* `bad_samples` 0.001 .*{fourth};"):
        run(folder, (), out, options)
    assert listed(out) == listed(whole)
    assert [path.name for path in Path(out, "checkpoints").iterdir()] == [f"{fourth - 1:08d}.safetensors"]
    assert run(folder, (), out, options.model_copy(update={"bad_samples": 0.2})).digest == digest
    assert (listed(out), losses(out)) == (listed(whole), losses(whole))


def test_a_store_that_is_lost_ends_the_run_at_once(damaged, options, tmp_path, monkeypatch):
    folder, _ = damaged
    out = str(tmp_path / "model")

    def lose():
        for tar in Path(folder).glob("*.tar"):
            os.truncate(tar, 0)

    monkeypatch.setattr(sys, "stderr", Terminal(2, lose))
    monkeypatch.setattr(loader, "CACHE_BYTES", 0)
    with pytest.raises(BudgetError, match=r"neither a sample nor any drawn instead can be read: .*; restore the"):
        run(folder, (), out, options)
    (checkpoint,) = Path(out, "checkpoints").iterdir()
    assert 2 <= int(checkpoint.stem) <= 6
    assert len(listed(out)) <= 46


def test_two_processes_list_what_one_does(damaged, tower_file, tmp_path, status_of):
    folder, lost = damaged
    arguments = ["--shards", folder, "--tower", tower_file, "--samples", "96", "--batch-size", "12", "--out"]
    arguments = ["--warmup-steps", "1", *arguments]
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    job = subprocess.run([*torchrun(2), "train", *arguments, two], capture_output=True, text=True)
    assert job.returncode == 0, job.stderr
    assert status_of("train", *arguments, one) == 0
    assert listed(two) == listed(one) and len(listed(one)) == len(lost)
