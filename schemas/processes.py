"""Processes of this interpreter that a command starts for its work, and what is said of one that died."""

from __future__ import annotations

import signal
import sys


def isolated(start: str) -> list[str]:
    """The command of a process that executes ``start`` and imports from the places that this process imports from.

    The working directory is none of them unless it is one here: ``python -m`` and ``python -c`` would put it first,
    and run a stranger's ``pipelines/`` or ``torch.py`` that lies in it. ``-I`` keeps it off; ``-P``, which does no more
    than that, came with Python 3.11.
    """
    places = [place for place in sys.path if place]
    return [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {places!r}; {start}"]


def ignore_stop_requests() -> None:
    """Leave Ctrl-C and a service's stop to the process that this one works for."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def cause_of(status: int) -> str:
    """Why a process ended, by its exit status, which is a signal's number times -1 where one killed it."""
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    return f"{name}: out of memory?" if -status == signal.SIGKILL else name
