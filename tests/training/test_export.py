"""A checkpoint as a model folder: its weights, and what its manifest, card and ledger say of it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import open_clip
import pyarrow as pa
import pytest
import safetensors.torch
import torch

from clipsieve.schemas.counts import TrainCounts
from clipsieve.schemas.errors import InputError, SignalError
from clipsieve.schemas.ledger import LEDGER_NAME, Ledger
from clipsieve.schemas.manifest import present_manifest, read_manifest
from clipsieve.schemas.models import WEIGHTS_NAME
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.run import read_run
from clipsieve.schemas.tables import SUBSET, write_table
from clipsieve.training import saving
from clipsieve.training.card import CARD_NAME
from clipsieve.training.export import export_checkpoint
from clipsieve.training.train import run
from tests.training.terminal import Terminal


@pytest.fixture
def start(shards, rows, tower_file, tmp_path, monkeypatch):
    """start(step, action): a run of ten steps on half of the pairs, with something done at one of them; its folder."""
    subset, out = str(tmp_path / "half.parquet"), str(tmp_path / "run" / "models" / "half")
    uids = [row["uid"] for row in rows if row["status"] == "success"][:24]
    table = {"uid": uids, "similarity": [0.3] * 24, "quantile_rank": [0.0] * 24}
    write_table(pa.table(table, schema=SUBSET.schema), SUBSET, subset)
    options = TrainOptions(
        tower=tower_file, samples=120, batch_size=12, warmup_steps=2, log_steps=1, checkpoint_steps=4
    )

    def begin(step, action, weights=("",)):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Terminal(step, action))
            run(shards, [subset + weight for weight in weights], out, options)
        return out

    return begin


@pytest.fixture
def stopped(start, tmp_path, monkeypatch):
    """The folder of a run that was stopped after its seventh step; no checkpoint is removed."""
    monkeypatch.setattr(saving, "kept_of", set)
    with pytest.raises(SignalError):
        start(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    return str(tmp_path / "run" / "models" / "half")


def test_a_checkpoint_becomes_a_model_that_open_clip_loads(stopped, tmp_path):
    out = str(tmp_path / "run" / "models" / "half-7")
    manifest = export_checkpoint(stopped, out, 7)
    assert manifest == read_manifest(out) and manifest.complete
    counts = manifest.counted(TrainCounts)
    assert (counts.steps, counts.of_steps, counts.samples_seen, counts.unique_samples) == (7, 10, 84, 24)
    ledger = Ledger.model_validate_json(Path(out, LEDGER_NAME).read_bytes())
    assert (ledger.steps, ledger.of_steps, ledger.samples_seen) == (7, 10, 84)
    assert "84 samples seen in 7 steps of the run's 10 " in Path(out, CARD_NAME).read_text()

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{out}")
    saved = safetensors.torch.load_file(f"{stopped}/checkpoints/00000007.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, saved[f"model/model.{name}"])


def test_it_is_known_what_it_was_trained_on(stopped, tmp_path):
    export_checkpoint(stopped, str(tmp_path / "run" / "models" / "half-7"))
    made = {folder.name: folder.manifest.trained_on() for folder in read_run(str(tmp_path / "run")).made}
    assert made["models/half-7"] == made["models/half"]
    assert made["models/half"] and made["models/half"].names == {"half"}


def test_distinct_samples_of_a_mixture_are_counted_at_its_end_alone(start, tmp_path):
    folder, out = str(tmp_path / "run" / "models" / "half"), str(tmp_path / "exported")
    start(9, lambda: export_checkpoint(folder, out), ("=0.7", "=0.3"))
    assert present_manifest(out).counted(TrainCounts).unique_samples is None
    assert "steps of the run's 10 (a checkpoint of a run that was not done). " in Path(out, CARD_NAME).read_text()
    assert present_manifest(folder).counted(TrainCounts).unique_samples == 24


def test_a_run_is_exported_from_while_it_goes_on(start, tmp_path):
    out = str(tmp_path / "exported")
    folder = start(9, lambda: export_checkpoint(str(tmp_path / "run" / "models" / "half"), out))
    assert present_manifest(out).counted(TrainCounts).steps in (4, 8)
    assert present_manifest(folder).counted(TrainCounts).of_steps is None


def test_an_export_is_the_same_again_and_no_other_takes_its_folder(stopped, tmp_path, shards, tower_file):
    out = str(tmp_path / "exported")
    made = export_checkpoint(stopped, out, 7)
    assert export_checkpoint(stopped, out) == made
    with pytest.raises(InputError, match="holds another model; choose another --out"):
        export_checkpoint(stopped, out, 4)
    with pytest.raises(InputError, match="holds a run that is not done; choose another --out"):
        export_checkpoint(stopped, stopped)


def test_a_folder_of_an_export_is_not_taken_for_a_trained_model(stopped, tmp_path, shards):
    manifest = export_checkpoint(stopped, str(tmp_path / "exported"))
    with pytest.raises(InputError, match="exported: holds the model of a checkpoint, of step 7 of 10; choose another"):
        run(shards, [str(manifest.subsets[0].path)], str(tmp_path / "exported"), manifest.options(TrainOptions))


def test_what_is_no_checkpoint_is_said(stopped, shards, tmp_path, command):
    ended = command("export", stopped, "--step", "5", "--out", str(tmp_path / "out"))
    assert ended.status == 2 and "no checkpoint of step 5 there; it has those of 4, 7" in ended.err
    ended = command("export", shards, "--out", str(tmp_path / "out"))
    assert ended.status == 2 and f"{shards}: not a folder of `train`" in ended.err
    Path(stopped, "checkpoints", "00000007.safetensors").write_bytes(b"damaged")
    ended = command("export", stopped, "--out", str(tmp_path / "out"))
    assert ended.status == 2 and "00000007.safetensors: not a checkpoint" in ended.err
    assert not Path(tmp_path, "out", WEIGHTS_NAME).exists()
