"""Ctrl-C and SIGTERM, sent to real processes: a checkpoint is saved, the line says where the run resumes, and a second
one ends it at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clipsieve.schemas.models import WEIGHTS_NAME
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, read_table
from tests.commands import CLIPSIEVE, torchrun

STEPS, BATCH = 60, 12
LISTENER = """
import ctypes, signal
from clipsieve.training.stopping import STOPS, stop_requests

with stop_requests(is_first=True):
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # other threads get them: this one's call into C goes on
    print("listening", flush=True)
    while True:
        ctypes.CDLL(None).pause()
"""


@pytest.fixture
def start(shards, tower_file):
    """start(launcher, out): a run in a process group of its own, as a shell starts it; it is ended with the test."""
    running: list[subprocess.Popen[str]] = []

    def begin(launcher, out):
        flags = {"shards": shards, "tower": tower_file, "samples": STEPS * BATCH, "batch-size": BATCH, "out": out}
        flags |= {"warmup-steps": 1, "log-steps": 1, "augment": "crop_flip"}
        command = [*launcher, "train", *(f"--{name}={value}" for name, value in flags.items())]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


@pytest.fixture
def listener():
    """A process that is in C code, and listens for requests to stop."""
    command = [sys.executable, "-c", LISTENER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "listening\n"
        yield process
        process.kill()


def stop_at(process, step, number):
    """Send ``number`` to the process's group when the line of ``step`` comes; returns its other lines."""
    for line in process.stderr:
        if line.startswith(f"step {step}/"):
            os.killpg(process.pid, number)
            return process.communicate()[1]
    return pytest.fail("the run ended before that step")


def left_by(out):
    columns = ("step", "loss", "grad_norm", "logit_scale")
    rows = read_table(f"{out}/{TRAIN_LOG_NAME}", TRAIN_LOG).select(columns).to_pylist()
    return rows, Path(out, WEIGHTS_NAME).read_bytes()


def assert_resumes(start, launcher, said, number, stopped, whole):
    """What was ``said`` names the step that was saved, and the run resumed there is the ``whole`` one."""
    (step,) = re.findall(rf"^clipsieve: stopped by {number.name}: step (\d+) of {STEPS} is saved; .*$", said, re.M)
    assert f"the same command resumes from step {step}\n" in said
    assert Path(stopped, "checkpoints", f"{int(step):08d}.safetensors").is_file()
    for out in (stopped, whole):
        run = start(launcher, out)
        resumed = run.communicate()[1]
        assert run.returncode == 0, resumed
        first = 1 + (int(step) if out == stopped else 0)
        assert f"steps {first} to {STEPS} " in resumed
    assert left_by(stopped) == left_by(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_says_where_it_resumes(start, tmp_path, number):
    run = start([CLIPSIEVE], str(tmp_path / "stopped"))
    said = stop_at(run, 3, number)
    assert run.returncode == 128 + number and "Traceback" not in said
    assert_resumes(start, [CLIPSIEVE], said, number, str(tmp_path / "stopped"), str(tmp_path / "whole"))


def test_ctrl_c_under_torchrun_saves_a_checkpoint(start, tmp_path):
    said = stop_at(start(torchrun(2), str(tmp_path / "stopped")), 3, signal.SIGINT)
    assert_resumes(start, torchrun(2), said, signal.SIGINT, str(tmp_path / "stopped"), str(tmp_path / "whole"))


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])  # torchrun sends SIGTERM for a second Ctrl-C
def test_a_second_request_ends_a_process_at_once(listener, second):
    listener.send_signal(signal.SIGINT)
    assert listener.stderr.readline().startswith("the run ends after this step, with a checkpoint")
    listener.send_signal(second)
    assert listener.wait() == 130
    assert listener.stderr.read() == "clipsieve: stopped at once; the same command resumes from the last checkpoint\n"


def test_sigterm_may_be_repeated(listener):
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        listener.send_signal(number)
    assert listener.wait() == 130
