"""The process that a local multi-process job starts for each worker: Beam's harness without its chatter.

Beam's own entry point writes a dozen lines of its start and end to the terminal, and the traceback of an
exception that it also hands to the driver, which decides what the user sees of it.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from contextlib import redirect_stderr

from clipsieve.schemas.processes import ignore_stop_requests, isolated


def _end_with_driver() -> None:
    """Wait until the other end of the pipe on stdin is closed, by the driver or by its death; then end at once."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def command() -> list[str]:
    """The command that starts a worker process of this interpreter."""
    return isolated(f"from {__name__} import main; main()")


def main() -> None:
    """Serve the driver until it is gone."""
    ignore_stop_requests()
    threading.Thread(target=_end_with_driver, name="end_with_driver", daemon=True).start()
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    gc.disable()  # what imports make lives on: to look for garbage in it again and again is a sixth of the start
    from apache_beam.runners.worker import sdk_worker_main

    gc.freeze()
    gc.enable()
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):  # noqa: PTH123
        sdk_worker_main.main(sys.argv)
