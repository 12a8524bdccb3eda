"""Processes that fill batches for a trainer, in memory that it shares with them.

    trainer ── control ── server ── forks ── worker 0, worker 1, …
       └───────────── one connection for each worker ──┘

One server imports what decoding needs, without the trainer's threads and its GPU, and forks the workers, so that each
starts in a few milliseconds. A worker is sent (slot, start, stop), fills its rows of the slot's arrays, and sends
(slot, what it has to say). The server says of what a worker died; when its connection to the trainer closes, by
whatever end of it, it ends the workers.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

import torch

from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.processes import cause_of, isolated
from clipsieve.training.data.ring import Arrays, Reader, Ring
from clipsieve.training.data.turns import in_turn, slots_needed

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class WorkerPool:
    """The workers of a trainer, from their start until `close`."""

    def __init__(self, reader: Reader, most_pairs: int, workers: int) -> None:
        slots = slots_needed()
        self._ring = Ring(reader.fields, most_pairs, slots)
        if torch.cuda.is_available():
            # The GPU fetches from it by itself.
            memory = self._ring.memory
            torch.cuda.check_error(torch.cuda.cudart().cudaHostRegister(memory.ctypes.data, memory.nbytes, 0))
        self._slots = self._ring.slots()
        pairs = [socket.socketpair() for _ in range(workers + 1)]
        self._control, *self._workers = (Connection(own.detach()) for own, _ in pairs)
        theirs = [other.fileno() for _, other in pairs]
        start = f"from clipsieve.training.data.worker import main; main({theirs}, {self._ring.descriptor})"
        self._server = subprocess.Popen(  # noqa: S603
            isolated(start),
            stdin=subprocess.DEVNULL,
            pass_fds=[*theirs, self._ring.descriptor],
            env={**os.environ, **_ONE_THREAD},
        )
        for _, other in pairs:
            other.close()
        self._answers: list[list[Any]] = [[] for _ in self._slots]
        try:
            self._control.send_bytes(pickle.dumps((reader, most_pairs, slots)))
        except OSError:
            self._say_who_died()

    def filled(self, shares: Iterable[range]) -> Iterator[tuple[Arrays, list[Any]]]:
        """The arrays of each range of positions, with what each worker says of them, as `in_turn` gives them."""
        return in_turn(self._slots, shares, self._begin, self._answers_on)

    def close(self) -> None:
        """End the workers, wherever they are in their work."""
        for connection in (self._control, *self._workers):
            connection.close()
        self._server.wait()
        if torch.cuda.is_available():
            torch.cuda.check_error(torch.cuda.cudart().cudaHostUnregister(self._ring.memory.ctypes.data))
        self._ring.close()

    def _begin(self, slot: int, share: range) -> None:
        try:
            for worker in self._workers:
                worker.send((slot, share.start, share.stop))
        except OSError:
            self._say_who_died()

    def _answers_on(self, slot: int) -> list[Any]:
        """What all workers say of a slot, once they have."""
        while len(self._answers[slot]) < len(self._workers):
            for connection in wait([self._control, *self._workers]):
                if connection is self._control:
                    self._say_who_died()
                self._take_answer(connection)
        answers, self._answers[slot] = self._answers[slot], []
        return answers

    def _take_answer(self, worker: Any) -> None:
        try:
            answer = worker.recv()
        except (EOFError, OSError):
            self._say_who_died()
        if isinstance(answer, Exception):
            raise answer
        slot, said = answer
        self._answers[slot].append(said)

    def _say_who_died(self) -> NoReturn:
        try:
            status = self._control.recv()
        except (EOFError, OSError):
            status = self._server.wait()
        raise ClipsieveError(
            f"a process that decodes images died ({cause_of(status)}); run the same command again to resume"
        )
