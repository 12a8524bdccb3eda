"""The process that a local multi-process job starts for each worker: Beam's harness without its chatter.

Beam's own entry point writes a dozen lines of its start and end to the terminal, and the traceback of an
exception that it also hands to the driver, which decides what the user sees of it.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import redirect_stderr

from apache_beam.runners.worker import sdk_worker_main

if __name__ == "__main__":
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):  # noqa: PTH123
        sdk_worker_main.main(sys.argv)
