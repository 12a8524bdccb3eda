"""The command line's entry point."""

from __future__ import annotations

import atexit
import gc
import sys

import typer

from clipsieve.app import app
from clipsieve.commands import curation, models, runs  # noqa: F401  each registers its commands, in this order
from clipsieve.schemas.errors import ClipsieveError, SignalError, signals_as_errors


def main() -> None:
    """Entry point: an error of ours is one line on stderr and its exit status, never a traceback (law 10)."""
    atexit.register(gc.freeze)  # or Python looks for garbage in all that was imported before it ends: 0.3 s
    try:
        with signals_as_errors():
            app()
    except (ClipsieveError, SignalError) as error:
        typer.echo(f"clipsieve: {error}", err=True)
        sys.exit(error.exit_status)
