"""The rows of log.parquet, TensorBoard's scalars, and the step at which a loss or gradient stops being a number."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, read_table
from clipsieve.training.checkpoint import Progress
from clipsieve.training.log import Measure, StepValues, TrainLog

MEASURE = Measure(steps=10, batch_size=4, epoch_samples=16, training_flops=5 * 10**9)


def values(loss, norm=2.0, **parts):
    losses = {name: torch.tensor(value) for name, value in {"loss": loss, **parts}.items()}
    return StepValues(losses, torch.tensor(norm), torch.tensor(20.0), 1e-3)


def rows_of(folder):
    return read_table(f"{folder}/{TRAIN_LOG_NAME}", TRAIN_LOG).to_pylist()


@pytest.fixture
def make(tmp_path, alone):
    return lambda progress, board=False: TrainLog(str(tmp_path), alone, MEASURE, progress, board)


def test_a_row_holds_the_last_step_and_its_place(make, tmp_path, capsys):
    log = make(Progress())
    for loss in (3.0, 2.5):
        log.add(values(loss, clip_loss=loss - 1))
    assert log.settle() is None
    log.report()
    log.write()
    (row,) = rows_of(tmp_path)
    assert (row["step"], row["samples_seen"], row["epoch"], row["loss"], row["clip_loss"]) == (2, 8, 0.5, 2.5, 1.5)
    assert (row["learning_rate"], row["logit_scale"], row["temperature"], row["grad_norm"]) == (1e-3, 20.0, 0.05, 2.0)
    assert (row["gflops"], row["mfu"], row["device_bytes"]) == (40, None, None)
    assert row["samples_per_second"] > 0 and 0 <= row["data_wait_share"] <= 1 and row["resident_bytes"] > 10**7
    line = capsys.readouterr().err
    assert line.startswith("step 2/10  loss 2.5000  lr 1.00e-03  temperature 0.0500  gradient norm 2.00  ")
    assert " 40 GFLOP " in line and line.count("\n") == 1


def test_a_run_says_first_what_it_trains(make, capsys):
    make(Progress(steps=2)).introduce("vit-tiny-64", 1_234_567, 0)
    assert capsys.readouterr().err == (
        "vit-tiny-64 (1,234,567 parameters) on 16 pairs: steps 3 to 10 of 4 samples, 1 process on cpu\n"
    )


def test_rows_behind_the_checkpoint_are_made_again(make, tmp_path):
    log = make(Progress())
    for loss in (5.0, 4.0, 3.0):
        log.add(values(loss))
        log.settle()
        log.report()
    log.write()
    resumed = make(Progress(steps=2, loss_average=4.98))
    resumed.add(values(2.0))
    resumed.settle()
    resumed.report()
    resumed.write()
    assert [(row["step"], row["loss"]) for row in rows_of(tmp_path)] == [(1, 5.0), (2, 4.0), (3, 2.0)]
    assert resumed.progress.loss_average == pytest.approx(0.98 * 4.98 + 0.02 * 2.0)


@pytest.mark.parametrize("wrong", [values(math.nan), values(math.inf), values(2.0, norm=math.nan)])
def test_the_first_step_that_is_no_number_is_found(make, wrong):
    log = make(Progress(steps=4))
    for value in (values(2.0), wrong, values(math.nan)):
        log.add(value)
    assert log.settle() == 5


def test_timing_hands_every_batch_on(make):
    assert list(make(Progress()).timed(range(5))) == list(range(5))


def test_tensorboard_shows_the_rows(make, tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra tensorboard is not installed"
    )
    log = make(Progress(), True)
    for loss in (3.0, 2.5):
        log.add(values(loss))
        log.settle()
        log.report()
    log.write()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 3.0), (2, 2.5)]
    assert {"learning_rate", "temperature", "data_wait_share"} <= {*events.Tags()["scalars"]}


def test_without_tensorboard_the_extra_is_named(make, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"`tensorboard`: not installed; pip install 'clipsieve\[tensorboard\]'"):
        make(Progress(), True)
    assert not Path(tmp_path, "tensorboard").exists()
