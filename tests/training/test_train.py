"""Whole runs: what they leave behind, that they repeat, and that stopping them changes nothing."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import open_clip
import pyarrow as pa
import pytest
import safetensors.torch
import torch

from schemas.errors import ClipsieveError, InputError
from schemas.files import sha256_file
from schemas.manifest import read_manifest
from schemas.models import WEIGHTS_NAME, load_model
from schemas.recipe import TrainOptions
from schemas.tables import SUBSET, write_table
from training.train import SIGTERM_STATUS, main, run


@pytest.fixture
def options(tower_file):
    """Ten steps of 12, a line and a row each."""
    return TrainOptions(
        tower=tower_file,
        samples=120,
        batch_size=12,
        warmup_steps=2,
        log_steps=1,
        checkpoint_steps=4,
        augment="crop_flip",
    )


@pytest.fixture
def subset(rows, tmp_path):
    """A subset file of 24 of the 46 downloaded pairs."""
    uids = [row["uid"] for row in rows if row["status"] == "success"][:24]
    path = str(tmp_path / "top50.parquet")
    table = {"uid": uids, "similarity": [0.3] * 24, "quantile_rank": [0.0] * 24}
    write_table(pa.table(table, schema=SUBSET.schema), SUBSET, path)
    return path


def weights(folder):
    return safetensors.torch.load_file(f"{folder}/{WEIGHTS_NAME}")


def losses(folder):
    rows = map(json.loads, Path(folder, "log.jsonl").read_text().splitlines())
    return {row["step"]: (row["loss"], row["grad_norm"], row["logit_scale"]) for row in rows}


class Trigger(io.StringIO):
    """Stands for the terminal: does something when the line of a step is printed."""

    def __init__(self, step, action):
        super().__init__()
        self._start, self._action = f"step {step}/", action

    def write(self, text):
        if text.startswith(self._start):
            self._action()
        return super().write(text)


def test_a_run_leaves_a_model_that_open_clip_loads(shards, subset, options, tmp_path):
    out = str(tmp_path / "model")
    manifest = run(shards, subset, out, options)
    assert manifest == read_manifest(out) and manifest.complete and manifest.stage == "train"
    assert manifest.recipe == {**options.model_dump(mode="json"), "subset": "top50"}
    assert manifest.counts["pairs"] == manifest.counts["unique_samples"] == 24
    assert (manifest.counts["steps"], manifest.counts["samples_seen"]) == (10, 120)
    assert manifest.counts["parameters"] == sum(p.numel() for p in load_model(out).model.parameters())
    assert manifest.digest == sha256_file(f"{out}/{WEIGHTS_NAME}")
    assert sorted(losses(out)) == list(range(1, 11))
    assert not Path(out, "checkpoint").exists()

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{out}")
    saved = weights(out)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
    assert preprocess.transforms[-1].mean == [0.5, 0.4, 0.3]


def test_a_finished_run_is_left_as_it_is(shards, options, tmp_path):
    out = tmp_path / "model"
    first = run(shards, None, str(out), options)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert run(shards, None, str(out), options) == first
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(InputError, match="done with another recipe or input: seed was 0, now 1"):
        run(shards, None, str(out), options.model_copy(update={"seed": 1}))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_equal_recipes_give_equal_bytes_and_other_seeds_others(shards, options, tmp_path, precision):
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        chosen = options.model_copy(update={"precision": precision, "seed": seed})
        digests.append(run(shards, None, str(tmp_path / name), chosen).digest)
    assert digests[0] == digests[1] != digests[2]


def test_workers_do_not_change_the_weights(shards, options, tmp_path):
    one = run(shards, None, str(tmp_path / "one"), options)
    three = run(shards, None, str(tmp_path / "three"), options.model_copy(update={"workers": 3}))
    assert one.digest == three.digest


@pytest.mark.parametrize("optimizer, weight_decay", [("adamw", 0.2), ("adafactor", 1e-4)])
def test_a_run_that_sigterm_stopped_goes_on_bit_by_bit(shards, options, tmp_path, monkeypatch, optimizer, weight_decay):
    options = options.model_copy(update={"optimizer": optimizer, "weight_decay": weight_decay})
    whole, stopped = str(tmp_path / "whole"), str(tmp_path / "stopped")
    digest = run(shards, None, whole, options).digest
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Trigger(6, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        with pytest.raises(SystemExit) as end:
            run(shards, None, stopped, options)
    assert end.value.code == SIGTERM_STATUS
    assert sorted(losses(stopped)) == list(range(1, 8))
    assert json.loads(Path(stopped, "manifest.json").read_text())["status"] == "running"
    with pytest.raises(InputError, match="half done with another recipe or input: samples was 120, now 240"):
        run(shards, None, stopped, options.model_copy(update={"samples": 240}))
    assert run(shards, None, stopped, options).digest == digest
    assert losses(stopped) == losses(whole)


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(shards, options, tmp_path, monkeypatch):
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    digest = run(shards, None, whole, options).digest

    def die():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Trigger(7, die))
        with pytest.raises(KeyboardInterrupt):
            run(shards, None, killed, options)
    assert sorted(losses(killed)) == [1, 2, 3, 4]
    assert run(shards, None, killed, options).digest == digest
    assert losses(killed) == losses(whole)


def test_two_processes_train_as_one(shards, tower_file, tmp_path):
    arguments = ["--shards", shards, "--tower", tower_file, "--samples", "60", "--batch-size", "12"]
    arguments += ["--warmup-steps", "1", "--log-steps", "1", "--augment", "crop_flip", "--out"]
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    job = subprocess.run(
        [*launcher, "-m", "training.train", *arguments, two], capture_output=True, text=True, timeout=240
    )
    assert job.returncode == 0, job.stderr
    assert len(re.findall(r"^step \d/5 ", job.stderr, re.MULTILINE)) == 5
    assert main([*arguments, one]) == 0
    for step, expected in losses(one).items():
        assert losses(two)[step] == pytest.approx(expected, rel=1e-5)
    other = weights(two)
    for name, tensor in weights(one).items():
        if name.endswith("in_proj_bias"):
            # Attention does not depend on the keys' bias: its gradient is rounding, which AdamW blows up.
            tensor, other[name] = (torch.cat(bias.chunk(3)[::2]) for bias in (tensor, other[name]))
        torch.testing.assert_close(other[name], tensor, atol=1e-5, rtol=0, msg=name)


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_step(shards, options, tmp_path):
    wild = options.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0, "grad_clip": None})
    with pytest.raises(ClipsieveError, match=r"log.jsonl: the loss is nan at step [23]; lower learning_rate"):
        run(shards, None, str(tmp_path / "model"), wild)


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"batch_size": 47, "samples": 470}, "46 samples to train on, fewer than a batch_size of 47"),
        (
            {"warmup_steps": 10},
            r"warmup_steps 10 is not below the run's 10 steps \(samples 120 at batch_size 12\)",
        ),
        ({"samples": 11, "warmup_steps": 0}, "warmup_steps 0 is not below the run's 0 steps"),
        ({"optimizer": "adafactor"}, "weight_decay 0.2: with adafactor"),
        ({"tower": "vit-gigantic"}, "tower 'vit-gigantic': neither a file nor one of"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(shards, options, tmp_path, change, complaint):
    with pytest.raises(InputError, match=complaint):
        run(shards, None, str(tmp_path / "model"), options.model_copy(update=change))
    assert not (tmp_path / "model").exists()


def test_the_command_line_says_in_one_line_what_is_wrong(shards, tower_file, tmp_path, capsys):
    out = str(tmp_path / "model")
    assert main(["--shards", shards, "--out", out, "--tower", tower_file, "--batch-size", "many"]) == 2
    assert main(["--shards", shards, "--out", out, "--tower", tower_file]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: command line: batch_size: ") and "(got 'many')" in first
    assert second == f"error: {shards}: 46 samples to train on, fewer than a batch_size of 256"
