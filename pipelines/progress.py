"""How far a job is: a bar on a terminal, a plain line every few seconds elsewhere; always on stderr.

A Beam worker cannot report while it works, but what it finished lies in the output folder; so a job's
progress is what its ``done`` callable finds there.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

POLL_SECONDS = 1.0
LINE_SECONDS = 10.0


@contextmanager
def progress(label: str, total: int, done: Callable[[], int]) -> Iterator[None]:
    """Show, while the block runs, how many of ``total`` units are done, their rate and the time left.

    ``done`` counts them; a thread of its own calls it about once a second, and once more at the end.
    """
    stop = threading.Event()
    show = _bar if sys.stderr.isatty() else _lines
    watcher = threading.Thread(target=show, args=(label, total, done, stop), name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _bar(label: str, total: int, done: Callable[[], int], stop: threading.Event) -> None:
    before = done()
    with tqdm(desc=label, total=total, initial=before, unit="", unit_scale=True, file=sys.stderr) as bar:
        while True:
            ended = stop.wait(POLL_SECONDS)
            bar.update(done() - bar.n)
            if ended:
                return


def _lines(label: str, total: int, done: Callable[[], int], stop: threading.Event) -> None:
    before, start = done(), time.monotonic()
    while True:
        ended = stop.wait(LINE_SECONDS)
        print(progress_line(label, before, done(), total, time.monotonic() - start), file=sys.stderr, flush=True)
        if ended:
            return


def progress_line(label: str, before: int, done: int, total: int, seconds: float) -> str:
    """One plain line: ``score: 5,000/10,000 (50%), 250.0/s, 20 s left``.

    ``before`` units were there when the job began, ``seconds`` ago: they count as done, not towards the rate.
    """
    share = done / total if total else 1.0
    rate = (done - before) / seconds if seconds > 0 else 0.0
    line = f"{label}: {done:,}/{total:,} ({share:.0%}), {rate:,.1f}/s"
    if done >= total:
        return f"{line}, {tqdm.format_interval(seconds)}"
    return f"{line}, {tqdm.format_interval((total - done) / rate)} left" if rate > 0 else line
