"""The rows of log.jsonl, and the step at which a loss stops being a number."""

from __future__ import annotations

import json
import math

import pytest
import torch

from schemas.errors import ClipsieveError
from training.log import StepValues, TrainLog
from training.runtime import Runtime

ALONE = Runtime(0, 1, torch.device("cpu"), None)


def values(loss):
    return StepValues(torch.tensor(loss), torch.tensor(2.0), torch.tensor(14.0), 1e-3)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def make(tmp_path):
    return lambda done: TrainLog(str(tmp_path), ALONE, steps=10, batch_size=4, done=done)


def test_a_row_holds_the_last_step_and_its_place(make, tmp_path, capsys):
    log = make(0)
    for loss in (3.0, 2.5):
        log.add(values(loss))
    log.check()
    log.report()
    log.write()
    (row,) = rows_of(tmp_path)
    assert (row["step"], row["samples_seen"], row["loss"]) == (2, 8, 2.5)
    assert (row["learning_rate"], row["logit_scale"], row["grad_norm"]) == (1e-3, 14.0, 2.0)
    assert row["samples_per_second"] > 0 and 0 <= row["data_wait_share"] <= 1
    line = capsys.readouterr().err
    assert line.startswith("step 2/10  loss 2.5000  lr 1.00e-03  ") and line.count("\n") == 1


def test_rows_behind_the_checkpoint_are_made_again(make, tmp_path):
    log = make(0)
    for loss in (5.0, 4.0, 3.0):
        log.add(values(loss))
        log.check()
        log.report()
    log.write()
    resumed = make(2)
    resumed.add(values(2.0))
    resumed.check()
    resumed.report()
    resumed.write()
    assert [(row["step"], row["loss"]) for row in rows_of(tmp_path)] == [(1, 5.0), (2, 4.0), (3, 2.0)]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_the_first_step_whose_loss_is_no_number_is_named(make, loss):
    log = make(4)
    for value in (2.0, loss, math.nan):
        log.add(values(value))
    with pytest.raises(ClipsieveError, match=rf"log.jsonl: the loss is {loss} at step 6; lower learning_rate"):
        log.check()


def test_timing_hands_every_batch_on(make):
    assert list(make(0).timed(range(5))) == list(range(5))
