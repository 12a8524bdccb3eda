"""What goes wrong in a run, through the command: one clear line, and no checkpoint is lost."""

from __future__ import annotations

import io
import os
import re
import resource
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from clipsieve.schemas.models import WEIGHTS_NAME


@pytest.fixture
def flags(shards, tower_file, tmp_path):
    """Ten steps of 12, a checkpoint every second."""
    given = {"shards": shards, "out": tmp_path / "model", "tower": tower_file, "samples": 120, "batch-size": 12}
    return given | {"warmup-steps": 1, "log-steps": 1, "checkpoint-steps": 2}


@pytest.fixture
def train(command, flags):
    """train(flag=value): the command with these flags in addition to, or in place of, the usual ones."""
    return lambda **changes: command("train", *arguments(flags, changes))


@pytest.fixture
def half_done(status_of, flags, monkeypatch):
    """The folder of a run that SIGTERM stopped after its fifth step."""

    class Terminal(io.StringIO):
        def write(self, text):
            if text.startswith("step 5/"):
                os.kill(os.getpid(), signal.SIGTERM)
            return len(text)

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Terminal())
        assert status_of("train", *arguments(flags, {})) == 128 + signal.SIGTERM
    return flags["out"]


@pytest.fixture
def small_disk():
    """small_disk(size): while it is open, no file of this process grows beyond so many bytes."""

    @contextmanager
    def limited(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


def arguments(flags, changes):
    given = flags | {name.replace("_", "-"): value for name, value in changes.items()}
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items()]


def complaint(ended, status=2):
    """The one line of ours on stderr, less its prefix."""
    said = [line for line in ended.err.splitlines() if not re.match(r"step \d|.* parameters\) on ", line)]
    assert ended.status == status and len(said) == 1, ended.err
    return said[0].removeprefix("clipsieve: ")


def checkpoints(out):
    return {path.name: path.read_bytes() for path in Path(out, "checkpoints").iterdir()}


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"batch_size": "many"}, "train: --batch-size: Input should be a valid integer"),
        ({"parallel": "fsdp", "replicas": 2}, "--replicas 2 does not divide the run's 1 processes"),
        ({"warmup_steps": 10}, "--warmup-steps 10 is not below the run's 10 steps"),
        ({"lock_image": True}, "random: set --initial to the model"),
        ({"subset": "nowhere.npy"}, "nowhere.npy: no such file"),
        ({"tokenizer": __file__}, f"{__file__}: not a SentencePiece model"),
        ({"batch_size": 47, "samples": 470}, "46 samples to train on, fewer than a --batch-size of 47"),
    ],
)
def test_a_bad_recipe_subset_or_tokenizer_ends_the_run_before_its_first_step(train, flags, changes, said):
    assert said in complaint(train(**changes))
    assert not flags["out"].exists()


def test_another_tokenizer_than_the_initial_models_is_refused(train, flags, tmp_path):
    assert train().status == 0
    ended = train(out=tmp_path / "next", initial=flags["out"], canonicalize=True)
    assert "its tokenizer is not that of tower" in complaint(ended)


def test_a_checkpoint_of_another_recipe_or_in_pieces_is_refused_and_kept(train, half_done):
    before = checkpoints(half_done)
    assert "--seed was 0, now 1" in complaint(train(seed=1))
    assert checkpoints(half_done) == before
    last = half_done / "checkpoints" / max(before)
    last.write_bytes(before[last.name][:-100])
    assert complaint(train()).startswith(f"{last}: not a checkpoint")
    last.unlink()  # as it says
    assert train().status == 0 and (half_done / WEIGHTS_NAME).is_file()


def test_a_disk_that_is_full_leaves_the_checkpoint_before(train, half_done, small_disk):
    before = checkpoints(half_done)
    with small_disk(len(next(iter(before.values()))) // 2):
        assert "cannot be written: File too large" in complaint(train(), status=1)
    assert checkpoints(half_done).items() >= before.items()
    assert train().status == 0 and (half_done / WEIGHTS_NAME).is_file()
