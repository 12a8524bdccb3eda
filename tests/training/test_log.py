"""The rows of log.parquet, TensorBoard's scalars, and the step at which a loss or gradient stops being a number."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

from clipsieve.schemas import manifest
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, read_table
from clipsieve.training.boards import open_boards
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
    return lambda progress, boards=(): TrainLog(str(tmp_path), alone, MEASURE, progress, boards)


@pytest.fixture
def boards(tmp_path):
    """boards(option=value, done=0): the boards of a run in the folder."""

    def begin(done=0, **changes):
        options = TrainOptions(**changes)
        manifest.begin(str(tmp_path), options, {})
        return open_boards(str(tmp_path), options, done)

    return begin


def add(log, *losses, found=None):
    for loss in losses:
        log.add(values(loss))
        log.settle()
        log.report(found=found)


def test_a_row_holds_the_last_step_and_its_place(make, tmp_path, capsys):
    log = make(Progress())
    for loss in (3.0, 2.5):
        log.add(values(loss, clip_loss=loss - 1))
    assert log.settle() is None
    log.report()
    log.writing()()
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
    log.writing()()
    resumed = make(Progress(steps=2, loss_average=4.98))
    resumed.add(values(2.0))
    resumed.settle()
    resumed.report()
    resumed.writing()()
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


def test_what_is_found_of_the_model_has_columns_of_its_own(make, tmp_path):
    log = make(Progress())
    add(log, 5.0)
    log.writing()()
    add(log, 4.0, found={"evaluate/shapes/acc1": 0.25})
    log.writing()()
    resumed = make(Progress(steps=2))
    add(resumed, 3.0)
    resumed.writing()()
    rows = [(row["step"], row["evaluate/shapes/acc1"]) for row in rows_of(tmp_path)]
    assert rows == [(1, None), (2, 0.25), (3, None)]


def test_rows_are_written_as_they_were_when_the_writing_was_made(make, tmp_path):
    log = make(Progress())
    add(log, 5.0)
    write = log.writing()
    add(log, 4.0)
    write()
    assert [row["step"] for row in rows_of(tmp_path)] == [1]


def test_a_pause_takes_no_time(make, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    log = make(Progress(seconds=7.0))
    now[0] += 2
    with log.paused():
        now[0] += 100
    add(log, 5.0)
    log.writing()()
    assert rows_of(tmp_path)[0]["samples_per_second"] == MEASURE.batch_size / 2
    assert log.progress.seconds == 9.0


def test_tensorboard_shows_the_rows(make, boards, tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra tensorboard is not installed"
    )
    log = make(Progress(), boards(tensorboard=True))
    add(log, 3.0, 2.5, found={"validation_loss": 2.0})
    log.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 3.0), (2, 2.5)]
    assert {"learning_rate", "temperature", "data_wait_share", "validation_loss"} <= {*events.Tags()["scalars"]}


def test_weights_and_biases_gets_the_rows(make, boards, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    log = make(Progress(), boards(wandb="studies"))
    add(log, 3.0, found={"validation_loss": 2.25})
    log.close()
    (run,) = Path(tmp_path, "wandb").glob("offline-run-*/*.wandb")
    data = run.read_bytes()
    assert b"studies" in data and b"validation_loss" in data and b"2.25" in data
    make(Progress(steps=1), boards(wandb="studies", done=1)).close()  # resumed, it is the same run
    assert {path.name for path in Path(tmp_path, "wandb").glob("offline-run-*/*.wandb")} == {run.name}


@pytest.mark.parametrize(
    "option, module", [({"tensorboard": True}, "torch.utils.tensorboard"), ({"wandb": "studies"}, "wandb")]
)
def test_a_board_that_is_not_installed_is_named_with_its_extra(boards, tmp_path, monkeypatch, option, module):
    (name,) = option
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"`{name}`: not installed; pip install 'clipsieve\[{name}\]'"):
        boards(**option)
    assert not Path(tmp_path, name).exists()
