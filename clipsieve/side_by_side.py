"""Runs commands of clipsieve next to each other, each in a process of its own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from clipsieve.schemas.errors import ClipsieveError, SignalError
from clipsieve.schemas.processes import cause_of, isolated
from clipsieve.schemas.terminal import say
from clipsieve.schemas.threads import open_pool

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Invocation:
    """A command to run, once another one is done."""

    name: str
    arguments: tuple[str, ...]
    """Of the command `clipsieve`."""
    after: str | None = None
    """The name of a task that has to end well first."""


def run_side_by_side(tasks: Sequence[Invocation], jobs: int) -> None:
    """Run the tasks, at most ``jobs`` at a time, begun in their order.

    What a task writes to standard error is shown with its name before each line; its standard output is dropped. A
    task that fails stops no other, but for those that come after it. Raises ClipsieveError at the end where one
    failed. SIGINT and SIGTERM are handed on as SIGTERM, and the tasks are waited for; a second one kills them.
    """
    waiting, running = list(tasks), dict[str, subprocess.Popen[str]]()
    failed: dict[str, str] = {}
    with open_pool(max(jobs, 1), "side_by_side") as readers:
        try:
            while waiting or running:
                _take_ended(running, failed)
                _drop_orphans(waiting, failed)
                unfinished = {task.name for task in waiting} | {*running}
                ready = [task for task in waiting if task.after not in unfinished]
                for task in ready[: jobs - len(running)]:
                    waiting.remove(task)
                    running[task.name] = _start(task)
                    readers.submit(_relay, task.name, running[task.name].stderr)
                time.sleep(_POLL_SECONDS)
        except BaseException:
            _stop(running)
            raise
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise ClipsieveError(f"{len(failed)} of {len(tasks)} runs failed ({reasons}); run the same command again")


def _start(task: Invocation) -> subprocess.Popen[str]:
    """In a session of its own: Ctrl-C on the terminal reaches this process alone, which says it once."""
    return subprocess.Popen(  # noqa: S603  a command of ours, and no shell
        [*isolated("from clipsieve.cli import main; main()"), *task.arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def _relay(name: str, lines: IO[str] | None) -> None:
    for line in lines or ():
        say(f"{name}: {line.rstrip()}", is_error=True)


def _take_ended(running: dict[str, subprocess.Popen[str]], failed: dict[str, str]) -> None:
    for name, process in list(running.items()):
        status = process.poll()
        if status is not None:
            del running[name]
            if status:
                failed[name] = cause_of(status)


def _drop_orphans(waiting: list[Invocation], failed: dict[str, str]) -> None:
    for task in list(waiting):
        if task.after in failed:
            waiting.remove(task)
            failed[task.name] = f"not begun, for {task.after} failed"


def _stop(running: dict[str, subprocess.Popen[str]]) -> None:
    """Ask every process to end, and wait; where another signal comes meanwhile, kill them."""
    for process in running.values():
        process.terminate()
    try:
        for process in running.values():
            process.wait()
    except (SignalError, KeyboardInterrupt):
        for process in running.values():
            with suppress(ProcessLookupError):
                process.kill()
