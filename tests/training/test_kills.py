"""A run that is killed at any moment, again and again, repeats one that was not, bit by bit."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipsieve.schemas.models import WEIGHTS_NAME
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, read_table
from tests.training.kills import KINDS, Moment, run_until

STEPS, BATCH = 9, 12
COLUMNS = ("step", "loss", "grad_norm", "logit_scale", "learning_rate")


@pytest.fixture(scope="module")
def train(shards, tower_file):
    """train(world, out, moment): one start of the run, to its end or to the moment."""

    def start(world, out, moment=None):
        small = {"tower": tower_file, "samples": STEPS * BATCH, "batch_size": BATCH, "augment": "crop_flip"}
        options = TrainOptions(**small, warmup_steps=1, log_steps=1, checkpoint_steps=2)
        return run_until(world, shards, str(out), options, moment)

    return start


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """By number of processes, the folder of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    for world in (1, 2):
        assert train(world, folder / str(world)) == [0] * world
    return folder


def rows(out):
    return read_table(f"{out}/{TRAIN_LOG_NAME}", TRAIN_LOG).select(COLUMNS).to_pylist()


def moments(world):
    return st.builds(Moment, st.sampled_from(KINDS), st.integers(1, 4), st.integers(0, world - 1))


def assert_kills_change_nothing(train, whole, out, world, kills):
    for moment in kills:
        statuses = train(world, out, moment)
        # A moment that does not come leaves the run to its end; the process that is left says so and ends.
        assert statuses[moment.rank] in (-signal.SIGKILL, 0)
        assert set(statuses) <= ({-signal.SIGKILL, 1} if statuses[moment.rank] else {0})
    assert train(world, out) == [0] * world
    assert rows(out) == rows(whole / str(world)) and len(rows(out)) == STEPS
    assert Path(out, WEIGHTS_NAME).read_bytes() == (whole / str(world) / WEIGHTS_NAME).read_bytes()
    assert not Path(out, "checkpoints").exists()


@settings(max_examples=6)
@given(st.lists(moments(1), min_size=1, max_size=3))
@example([Moment("open", 2, 0), Moment("os.rename", 2, 0), Moment("os.remove", 1, 0)])
def test_a_process_that_is_killed_anywhere_goes_on_bit_by_bit(train, whole, tmp_path_factory, kills):
    assert_kills_change_nothing(train, whole, tmp_path_factory.mktemp("killed") / "out", 1, kills)


@settings(max_examples=3)
@given(st.lists(moments(2), min_size=1, max_size=2))
@example([Moment("os.rename", 2, 0), Moment("step", 3, 1)])
def test_two_processes_of_which_one_is_killed_anywhere_go_on_bit_by_bit(train, whole, tmp_path_factory, kills):
    assert_kills_change_nothing(train, whole, tmp_path_factory.mktemp("killed") / "out", 2, kills)
