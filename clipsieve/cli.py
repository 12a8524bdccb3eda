"""The command line's entry point."""

from __future__ import annotations

import atexit
import gc
import sys

from clipsieve.app import app
from clipsieve.commands import curation, models, runs  # noqa: F401  each registers its commands, in this order
from clipsieve.outputs import lost_output, make_outputs_patient
from clipsieve.schemas.errors import ClipsieveError, SignalError, signals_as_errors
from clipsieve.schemas.terminal import printable, say


def main() -> None:
    """Entry point: an error of ours or of the system is one line on stderr and its exit status (law 10).

    Output that cannot be written ends nothing; where some was lost, the status of a command that went well is 1.
    """
    output = make_outputs_patient()
    atexit.register(gc.freeze)  # or Python looks for garbage in all that was imported before it ends: 0.3 s
    status = _run()
    lost = lost_output(output)
    if lost:
        _complain(f"standard output: {lost.strerror}; the command's work is done")
    sys.exit(status or int(lost is not None))


def _run() -> str | int | None:
    """Run the command that the arguments name; returns its exit status, as sys.exit takes it."""
    try:
        with signals_as_errors():
            app()
    except (ClipsieveError, SignalError) as error:
        _complain(str(error))
        return error.exit_status
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return ClipsieveError.exit_status
    except SystemExit as ended:
        return ended.code
    return 0


def _complain(message: str) -> None:
    say(f"clipsieve: {printable(message)}", is_error=True)
