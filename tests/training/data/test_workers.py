"""Worker processes: what they fill, how they are ended, and what is said of one that died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import closing
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import pytest

from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.training.data.ring import Field
from clipsieve.training.data.workers import WorkerPool

ROOT = Path(__file__).parents[3]


class Counting:
    """Writes each position into its row; a part has every so many-th. It fails where it is told to."""

    def __init__(self, fails_at=-1, dies_at=-1):
        self.cache_bytes = 900
        self.fields = {"number": Field("int64", ()), "process": Field("int32", (2,))}
        self.fails_at, self.dies_at = fails_at, dies_at

    def fill(self, positions, into, part, parts):
        if self.fails_at in positions:
            raise InputError("a bad sample") if part else ZeroDivisionError
        if self.dies_at in positions and part:
            os.kill(os.getpid(), signal.SIGKILL)
        for row, position in enumerate(positions):
            if position % parts == part:
                into["number"][row], into["process"][row] = position, (os.getpid(), self.cache_bytes)
        return part


def is_there(process):
    return Path(f"/proc/{process}").exists()


@pytest.fixture
def pool():
    """pool(reader): two workers for batches of at most 6."""
    opened = []

    def start(reader):
        opened.append(WorkerPool(reader, 6, 2))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def test_batches_come_in_order_and_each_row_from_its_worker(pool):
    shares = [range(6), range(6, 12), range(12, 16), range(16, 22), range(22, 28), range(28, 34)]
    seen, processes = [], set()
    for arrays, said in pool(Counting()).filled(shares):
        assert sorted(said) == [0, 1]
        seen.append(arrays["number"].tolist())
        worker = arrays["process"][:, 0].tolist()
        processes |= {(position % 2, process) for position, process in zip(seen[-1], worker, strict=True)}
        assert set(arrays["process"][:, 1].tolist()) == {450}  # of the room, half to each
    assert seen == [list(share) for share in shares]
    assert len(processes) == 2 and os.getpid() not in {process for _, process in processes}


def test_a_batch_stays_as_it_is_until_the_next_is_requested(pool):
    filled = pool(Counting()).filled(range(6 * n, 6 * n + 6) for n in range(20))
    for number, (arrays, _) in enumerate(filled):
        assert arrays["number"].tolist() == list(range(6 * number, 6 * number + 6))
        assert not arrays["number"].flags.owndata


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_workers_leave_stop_requests_to_the_trainer_and_end_with_it(told):
    with closing(WorkerPool(Counting(), 6, 2)) as pool:
        filled = pool.filled(range(6 * n, 6 * n + 6) for n in range(9))
        arrays, _ = next(filled)
        processes = np.unique(arrays["process"][:, 0]).tolist()
        for process in [*processes, pool._server.pid]:
            os.kill(process, told)
        assert len([*filled]) == 8
        assert all(map(is_there, processes))
    assert not any(map(is_there, [*processes, pool._server.pid]))


def test_a_worker_that_is_killed_is_said_to_be(pool):
    with pytest.raises(ClipsieveError, match=r"process that decodes images died \(SIGKILL: out of memory\?\)"):
        [*pool(Counting(dies_at=13)).filled(range(6 * n, 6 * n + 6) for n in range(9))]


def test_a_server_that_is_killed_is_said_to_be(pool):
    started = pool(Counting())
    filled = started.filled(range(6 * n, 6 * n + 6) for n in range(99))
    next(filled)
    started._server.kill()
    started._server.wait()
    with pytest.raises(ClipsieveError, match=r"process that decodes images died \(SIGKILL"):
        list(filled)


def test_what_a_worker_raises_is_raised_here(pool):
    """The first part divides by zero, the second complains; which comes first is open."""
    with pytest.raises((InputError, RuntimeError), match=r"a bad sample|ZeroDivisionError"):
        [*pool(Counting(fails_at=8)).filled(range(6 * n, 6 * n + 6) for n in range(9))]


TRAINER = """
    from tests.training.data.test_workers import Counting, WorkerPool
    pool = WorkerPool(Counting(), 6, 2)
    filled = pool.filled(range(6 * n, 6 * n + 6) for n in range(9))
    arrays, _ = next(filled)
    print(pool._server.pid, *set(arrays["process"][:, 0].tolist()), flush=True)
    input()
"""


def test_no_process_is_left_of_a_trainer_that_is_killed():
    """Nor memory: it has no name."""
    command = [sys.executable, "-c", textwrap.dedent(TRAINER)]
    trainer = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert trainer.stdin is not None and trainer.stdout is not None
    with trainer, trainer.stdin:
        processes = list(map(int, trainer.stdout.readline().split()))
        assert len(processes) == 3
        watched = [os.pidfd_open(process) for process in processes]
        trainer.kill()
    for descriptor in watched:
        assert wait([descriptor])  # for ever, where it is left
        os.close(descriptor)


def test_nothing_is_imported_from_the_working_directory(tmp_path, monkeypatch):
    for name in ("torch", "cv2", "pickle", "socket"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger was here')")
    monkeypatch.chdir(tmp_path)
    with closing(WorkerPool(Counting(), 6, 1)) as pool:
        ((arrays, _),) = [*pool.filled([range(6)])]
        assert arrays["number"].tolist() == list(range(6))
