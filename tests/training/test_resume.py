"""Two processes: stopped anywhere and run again they repeat a run that was not, and one that dies ends the other."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from clipsieve.schemas.models import WEIGHTS_NAME
from clipsieve.schemas.tables import TRAIN_LOG, TRAIN_LOG_NAME, read_table
from tests.commands import CLIPSIEVE

WORLD = 2
STEPS, BATCH = 9, 12
TIMEOUT = 30
"""Seconds; more than two processes, begun together on a busy machine, are apart."""


@pytest.fixture
def start(shards, tower_file):
    """Start the processes of a run, as torchrun would; those that are left are ended with the test."""
    running: list[subprocess.Popen[str]] = []

    def begin(out, **options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        flags = {"shards": shards, "tower": tower_file, "samples": STEPS * BATCH, "batch-size": BATCH, "out": out}
        flags |= {"warmup-steps": 1, "log-steps": 1, "checkpoint-steps": 2, "augment": "crop_flip"} | options
        command = [CLIPSIEVE, "train", *(f"--{name}={value}" for name, value in flags.items())]
        common = {"WORLD_SIZE": str(WORLD), "LOCAL_WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1"}
        for rank in range(WORLD):
            ranked = {**os.environ, **common, "MASTER_PORT": port, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            running.append(subprocess.Popen(command, env=ranked, stderr=subprocess.PIPE, text=True))
        return running[-WORLD:]

    yield begin
    for process in running:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def wait_for(process, step):
    for line in process.stderr:
        if line.startswith(f"step {step}/"):
            return
    pytest.fail("the run ended before that step")


def finish(processes):
    said = [process.communicate()[1] for process in processes]
    return [process.returncode for process in processes], said


def rows(out):
    columns = ("step", "loss", "grad_norm", "logit_scale")
    return [
        tuple(row[name] for name in columns) for row in read_table(f"{out}/{TRAIN_LOG_NAME}", TRAIN_LOG).to_pylist()
    ]


def weights(out):
    return Path(out, WEIGHTS_NAME).read_bytes()


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_that_are_stopped_go_on_bit_by_bit(start, tmp_path, parallel):
    whole, stopped = str(tmp_path / "whole"), str(tmp_path / "stopped")
    assert finish(start(whole, parallel=parallel))[0] == [0, 0]
    processes = start(stopped, parallel=parallel)
    wait_for(processes[0], 3)
    processes[1].send_signal(signal.SIGTERM)  # one is told, all end
    assert finish(processes)[0] == [128 + signal.SIGTERM] * WORLD
    assert 3 <= len(rows(stopped)) < STEPS
    assert finish(start(stopped, parallel=parallel))[0] == [0, 0]
    assert rows(stopped) == rows(whole) and len(rows(whole)) == STEPS
    assert weights(stopped) == weights(whole)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_gone_or_silent_ends_the_other_with_a_clear_error(start, tmp_path, end):
    processes = start(str(tmp_path / "out"), **{"collective-timeout": TIMEOUT, "samples": 10**6 * BATCH})
    wait_for(processes[0], 3)
    processes[1].send_signal(end)
    _, said = processes[0].communicate()
    assert processes[0].returncode == 1
    message = rf"clipsieve: process 0 of 2: another process is gone, or silent for {TIMEOUT} s; .* last checkpoint"
    assert re.fullmatch(message, said.splitlines()[-1])
    assert list(Path(tmp_path, "out", "checkpoints").glob("*.safetensors"))
