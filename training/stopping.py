"""How a run is stopped: the first SIGINT (Ctrl-C) or SIGTERM asks for a checkpoint, a second one ends it at once.

torchrun starts each process in a session of its own: a terminal's Ctrl-C reaches torchrun alone, which sends every
process one SIGINT, and for a second Ctrl-C a SIGTERM. Schedulers repeat SIGTERM, so SIGTERMs alone are one request.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from clipsieve.schemas.terminal import say

STOPS = (signal.SIGINT, signal.SIGTERM)


class _BlockEnded(BaseException):
    """Not an Exception: nothing may take it for a failure of what the block does."""


class StopRequests:
    """Which signals have asked this process to stop."""

    def __init__(self) -> None:
        self._received: set[int] = set()
        self._ends_block = False

    def has(self, number: signal.Signals) -> bool:
        return number in self._received

    def receive(self, number: int, _: FrameType | None = None) -> None:
        """Python calls it, in the main thread, between two instructions."""
        self._received.add(number)
        if self._ends_block:
            raise _BlockEnded

    @contextmanager
    def ending_block(self) -> Iterator[None]:
        """A request that comes while the block runs ends the block, and nothing else."""
        try:
            try:
                self._ends_block = True
                yield
            finally:
                self._ends_block = False
        except _BlockEnded:
            pass


@contextmanager
def stop_requests(is_first: bool) -> Iterator[StopRequests]:
    """The signals that ask this process to stop, instead of ending it, while the block runs.

    The process that ``is_first`` says what they do. Only the main thread may listen to signals: elsewhere none comes.
    """
    stop = StopRequests()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    # Python calls handlers between two of its instructions, and a backward pass may take a minute. What C writes to
    # this socket as a signal comes, another thread reads at once.
    ours, pythons = socket.socketpair()
    pythons.setblocking(False)
    threading.Thread(target=_end_at_second, args=(ours, is_first), name="stop_requests", daemon=True).start()
    before = {number: signal.signal(number, stop.receive) for number in STOPS}
    descriptor = signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        pythons.close()


def _end_at_second(signals: socket.socket, is_first: bool) -> None:
    """Read the signals' numbers, a byte each, until the other end is closed; end the process where it must."""
    received = b""
    with signals:
        while data := signals.recv(64):
            received += bytes(number for number in data if number in STOPS)
            if signal.SIGINT not in received:
                continue
            if len(received) > 1:
                if is_first:
                    say("clipsieve: stopped at once; the same command resumes from the last checkpoint", is_error=True)
                os._exit(128 + signal.SIGINT)
            if is_first:
                say("the run ends after this step, with a checkpoint; Ctrl-C again ends it at once", is_error=True)
