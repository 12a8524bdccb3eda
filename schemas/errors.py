"""Errors that a user sees: one line that names the file, row and field and what to do, and an exit status."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class ClipsieveError(Exception):
    """A failed job (exit status 1). The message is one line, fit to be shown without a traceback."""

    exit_status = 1


class InputError(ClipsieveError):
    """Bad input: a file, row, field, recipe or option that the user can fix (exit status 2)."""

    exit_status = 2


class NetworkGoneError(ClipsieveError):
    """The network stayed away for longer than the recipe waits; the work done is kept (exit status 1)."""


class BudgetError(ClipsieveError):
    """More rows failed than the recipe allows, or all of them; the work done is kept (exit status 3)."""

    exit_status = 3


class SignalError(SystemExit):
    """SIGINT (Ctrl-C) or SIGTERM ended the command. Not an Exception: nothing may take it for a failed row.

    ``exit_status`` is 128 and the signal's number, as a shell has it.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message, exit_status)
        self.exit_status = exit_status

    def __str__(self) -> str:
        return str(self.args[0])


def one_line(error: Exception) -> str:
    """What an exception of another library says, on one line of at most 200 characters; its type where it is mute."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def signals_as_errors() -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM raise SignalError in the main thread, which must be the one here."""

    def stop(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        raise SignalError(f"stopped by {name}; run the same command again to resume", 128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
