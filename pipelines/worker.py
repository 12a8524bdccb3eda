"""The process that a local multi-process job starts for each worker: Beam's harness, silent but for its failures.

Beam's own entry point writes a dozen lines of its start and end to the terminal for every worker.
"""

from __future__ import annotations

import logging
import sys

from apache_beam.runners.worker import sdk_worker_main

if __name__ == "__main__":
    console = logging.StreamHandler()
    console.setLevel(logging.CRITICAL)
    logging.basicConfig(handlers=[console], force=True)
    sdk_worker_main.main(sys.argv)
