"""Whole runs: what they leave behind, that they repeat, and that stopping them changes nothing."""

from __future__ import annotations

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

from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.errors import ClipsieveError, InputError, SignalError
from clipsieve.schemas.files import sha256_file
from clipsieve.schemas.ledger import LEDGER_NAME, Ledger
from clipsieve.schemas.manifest import read_manifest
from clipsieve.schemas.models import WEIGHTS_NAME, load_model
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.samples import iter_samples
from clipsieve.schemas.tables import SUBSET, TRAIN_LOG, TRAIN_LOG_NAME, read_table, write_table
from clipsieve.training.data.order import make_order
from clipsieve.training.data.plan import plan_samples
from clipsieve.training.train import run
from tests.commands import torchrun
from tests.training.terminal import Terminal


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
    rows = read_table(f"{folder}/{TRAIN_LOG_NAME}", TRAIN_LOG).to_pylist()
    return {row["step"]: (row["loss"], row["grad_norm"], row["logit_scale"]) for row in rows}


def test_a_run_leaves_a_model_that_open_clip_loads(shards, subset, options, tmp_path):
    out = str(tmp_path / "model")
    manifest = run(shards, (subset,), out, options)
    assert manifest == read_manifest(out) and manifest.complete and manifest.stage == "train"
    assert (manifest.recipe, manifest.asked["subset"]) == (options, "top50")
    assert manifest.counts.shown["pairs"] == manifest.counts.shown["unique_samples"] == 24
    assert (manifest.counts.shown["steps"], manifest.counts.shown["samples_seen"]) == (10, 120)
    assert manifest.counts.shown["parameters"] == sum(p.numel() for p in load_model(out).model.parameters())
    assert manifest.digest == sha256_file(f"{out}/{WEIGHTS_NAME}")
    assert sorted(losses(out)) == list(range(1, 11))
    assert not Path(out, "checkpoints").exists()

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{out}")
    saved = weights(out)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
    assert preprocess.transforms[-1].mean == [0.5, 0.4, 0.3]


def test_a_finished_run_is_left_as_it_is(shards, options, tmp_path):
    out = tmp_path / "model"
    first = run(shards, (), str(out), options)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert run(shards, (), str(out), options) == first
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(InputError, match="done with another recipe or input: `seed` was 0, now 1"):
        run(shards, (), str(out), options.model_copy(update={"seed": 1}))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_equal_recipes_give_equal_bytes_and_other_seeds_others(shards, options, tmp_path, precision):
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        chosen = options.model_copy(update={"precision": precision, "seed": seed})
        digests.append(run(shards, (), str(tmp_path / name), chosen).digest)
    assert digests[0] == digests[1] != digests[2]


def test_workers_do_not_change_the_weights(shards, options, tmp_path):
    """Nor need they stay: a folder that is done with one worker is done for a run with three."""
    one = run(shards, (), str(tmp_path / "one"), options)
    three = run(shards, (), str(tmp_path / "three"), options.model_copy(update={"workers": 3}))
    assert one.digest == three.digest
    assert run(shards, (), str(tmp_path / "one"), options.model_copy(update={"workers": 3})) == one


@pytest.mark.parametrize("optimizer, weight_decay", [("adamw", 0.2), ("adafactor", 1e-4)])
def test_a_run_that_sigterm_stopped_goes_on_bit_by_bit(shards, options, tmp_path, monkeypatch, optimizer, weight_decay):
    options = options.model_copy(update={"optimizer": optimizer, "weight_decay": weight_decay})
    whole, stopped = str(tmp_path / "whole"), str(tmp_path / "stopped")
    digest = run(shards, (), whole, options).digest
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Terminal(6, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        with pytest.raises(SignalError, match=r"SIGTERM: step 7 of 10 is saved; the same .* from step 7$") as end:
            run(shards, (), stopped, options)
    assert end.value.exit_status == 128 + signal.SIGTERM
    assert sorted(losses(stopped)) == list(range(1, 8))
    assert json.loads(Path(stopped, "manifest.json").read_text())["status"] == "running"
    with pytest.raises(InputError, match="half done with another recipe or input: `samples` was 120, now 240"):
        run(shards, (), stopped, options.model_copy(update={"samples": 240}))
    assert run(shards, (), stopped, options).digest == digest
    assert losses(stopped) == losses(whole)


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(shards, options, tmp_path, monkeypatch):
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    digest = run(shards, (), whole, options).digest

    def die():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Terminal(7, die))
        with pytest.raises(KeyboardInterrupt):
            run(shards, (), killed, options)
    assert sorted(losses(killed)) == [1, 2, 3, 4]
    assert run(shards, (), killed, options).digest == digest
    assert losses(killed) == losses(whole)


def test_two_processes_train_as_one(shards, tower_file, tmp_path, status_of):
    arguments = ["--shards", shards, "--tower", tower_file, "--samples", "60", "--batch-size", "12"]
    arguments += ["--warmup-steps", "1", "--log-steps", "1", "--augment", "crop_flip", "--out"]
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    job = subprocess.run([*torchrun(2), "train", *arguments, two], capture_output=True, text=True, timeout=240)
    assert job.returncode == 0, job.stderr
    assert len(re.findall(r"^step \d/5 ", job.stderr, re.MULTILINE)) == 5
    assert status_of("train", *arguments, one) == 0
    # Of the losses and gradients alone: AdamW makes whole steps of what is left of a gradient of zero, so the weights
    # are compared in float64, in test_processes.py.
    for step, expected in losses(one).items():
        assert losses(two)[step] == pytest.approx(expected, rel=1e-4)


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_step(shards, options, tmp_path):
    wild = options.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0, "grad_clip": None})
    with pytest.raises(ClipsieveError, match=r"not_finite.jsonl: the loss or .* at step [23]; it lists that step's 12"):
        run(shards, (), str(tmp_path / "model"), wild)
    listed = list(map(json.loads, (tmp_path / "model" / "not_finite.jsonl").read_text().splitlines()))
    order = make_order(plan_samples(shards), (), wild.seed, wild.batch_size)
    first = (listed[0]["step"] - 1) * 12
    places = [(tar, offset) for tar, offset, _ in order.plan.ranges(order.slice(first, first + 12))]
    at = {(tar, sample.offset): sample.key for tar in order.plan.tars for sample in iter_samples(tar)}
    assert [(row["shard"], row["key"]) for row in listed] == [(Path(tar).name, at[tar, o]) for tar, o in places]
    assert not Path(tmp_path, "model", "checkpoints").exists()


def test_a_mixture_of_subsets_is_trained_on_by_its_weights(shards, rows, options, tmp_path):
    uids = [row["uid"] for row in rows if row["status"] == "success"]
    files = {"a": uids[:10], "b": uids[5:30]}
    for name, members in files.items():
        table = {"uid": members, "similarity": [0.3] * len(members), "quantile_rank": [0.0] * len(members)}
        write_table(pa.table(table, schema=SUBSET.schema), SUBSET, str(tmp_path / f"{name}.parquet"))
    mixture = [f"{tmp_path}/a.parquet=0.7", f"{tmp_path}/b.parquet=0.3"]
    manifest = run(shards, mixture, str(tmp_path / "model"), options)
    assert [(each.name, each.weight, each.digest) for each in manifest.subsets] == [
        (name, weight, sha256_file(f"{tmp_path}/{name}.parquet")) for name, weight in (("a", 0.7), ("b", 0.3))
    ]
    assert manifest.counts.shown["pairs"] == 30
    assert 25 <= manifest.counts.shown["unique_samples"] <= 30
    with pytest.raises(InputError, match=r"input: `subset` was 'a=0.7,b=0.3', now 'a=0.7,b=1'"):
        run(shards, [mixture[0], mixture[1].partition("=")[0]], str(tmp_path / "model"), options)
    with pytest.raises(InputError, match=r"`subset` .*=-1': the weight must be more than 0, as FILE=0.7"):
        run(shards, [f"{tmp_path}/a.parquet=-1"], str(tmp_path / "other"), options)


def test_a_run_leaves_its_ledger(shards, options, tmp_path):
    out = str(tmp_path / "model")
    counts = run(shards, (), out, options).counted(TrainCounts)
    ledger = Ledger.model_validate_json((tmp_path / "model" / LEDGER_NAME).read_bytes())
    assert (ledger.samples_seen, ledger.unique_samples) == (120, 46) == (counts.samples_seen, 46)
    assert ledger.training_flops == 120 * 6 * (counts.image_macs + counts.text_macs)
    assert ledger.devices == 1 and 0 < ledger.device_hours < 1


@pytest.mark.parametrize(
    "change, complaint",
    [
        ({"batch_size": 47, "samples": 470}, "46 samples to train on, fewer than a `batch_size` of 47"),
        (
            {"warmup_steps": 10},
            r"`warmup_steps` 10 is not below the run's 10 steps \(`samples` 120 at `batch_size` 12\)",
        ),
        ({"samples": 11, "warmup_steps": 0}, "`warmup_steps` 0 is not below the run's 0 steps"),
        ({"optimizer": "adafactor"}, "`weight_decay` 0.2: with adafactor"),
        ({"tower": "vit-gigantic"}, "`tower` 'vit-gigantic': neither a file nor one of"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(shards, options, tmp_path, change, complaint):
    with pytest.raises(InputError, match=complaint):
        run(shards, (), str(tmp_path / "model"), options.model_copy(update=change))
    assert not (tmp_path / "model").exists()
