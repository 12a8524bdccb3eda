"""How far a job is: a bar on a terminal, a plain line every few seconds elsewhere; always on stderr.

A Beam worker cannot report while it works, but what it finished lies in the output folder; so a job's
progress is what its ``look`` callable finds there.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from tqdm import tqdm

POLL_SECONDS = 1.0
LINE_SECONDS = 10.0
# A look at a large folder in an object store takes seconds: it may take this share of the time, no more.
_MOST_LOOKING = 0.1
_MOST_READINGS = 1000  # of a run of weeks every second one is let go, again and again
_BAR = "{desc} {percentage:3.0f}% |{bar:16}| {n_fmt}/{total_fmt}{postfix}"


@dataclass(frozen=True)
class Reading:
    """What a look found: units done, of them the images where that is what people count, and a few words."""

    done: int
    images: int | None = None
    note: str = ""


class Meter:
    """Readings over time -> rate and time left, measured over the later half of the run.

    So a change of pace shows, and yet there is a rate where a unit is a shard that takes minutes. What was
    there at the first reading counts as done, not towards the rate.
    """

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._readings: deque[tuple[float, Reading]] = deque()
        self._first: tuple[float, Reading] | None = None

    def add(self, seconds: float, reading: Reading) -> None:
        """Take the reading at ``seconds`` on any clock that does not go back."""
        self._first = self._first or (seconds, reading)
        if len(self._readings) >= _MOST_READINGS:
            self._readings = deque(islice(self._readings, 0, None, 2))
        self._readings.append((seconds, reading))
        middle = (self._first[0] + seconds) / 2
        while len(self._readings) > 2 and self._readings[1][0] <= middle:
            self._readings.popleft()

    def line(self) -> str:
        """One plain line: ``score: 5,000/10,000 (50%), 250.0/s, 00:20 left``."""
        done = self._readings[-1][1].done
        share = done / self._total if self._total else 1.0
        details = self.details()
        return f"{self._label}: {done:,}/{self._total:,} ({share:.0%}){', ' if details else ''}{details}"

    def details(self) -> str:
        """The line's end: ``412 images/s, 01:31 left, 81% ok, timeout 3%``; once all is done, the whole run's."""
        now, last = self._readings[-1]
        is_done = last.done >= self._total
        since, first = (self._first if is_done else None) or self._readings[0]
        seconds = now - since
        rate = _per_second(last.done - first.done, seconds)
        words = []
        if seconds > 0:
            images = None if last.images is None else last.images - (first.images or 0)
            words.append(f"{rate:,.1f}/s" if images is None else f"{_per_second(images, seconds):,.0f} images/s")
        if is_done:
            words.append(tqdm.format_interval(seconds))
        elif rate:
            words.append(f"{tqdm.format_interval((self._total - last.done) / rate)} left")
        return ", ".join([*words, *([last.note] if last.note else [])])


@contextmanager
def progress(label: str, total: int, look: Callable[[], Reading]) -> Iterator[None]:
    """Show, while the block runs, how many of ``total`` units are done, their rate and the time left.

    A thread of its own calls ``look`` about once a second, and once more at the end.
    """
    stop = threading.Event()
    show = _bar if sys.stderr.isatty() else _lines
    watcher = threading.Thread(target=show, args=(label, total, look, stop), name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _bar(label: str, total: int, look: Callable[[], Reading], stop: threading.Event) -> None:
    with tqdm(desc=label, total=total, bar_format=_BAR, unit_scale=True, dynamic_ncols=True, file=sys.stderr) as bar:
        for meter, reading, _ in _readings(label, total, look, stop):
            bar.n = reading.done
            bar.set_postfix_str(meter.details())


def _lines(label: str, total: int, look: Callable[[], Reading], stop: threading.Event) -> None:
    due = time.monotonic() + LINE_SECONDS
    for meter, _, is_last in _readings(label, total, look, stop):
        if is_last or time.monotonic() >= due:
            print(meter.line(), file=sys.stderr, flush=True)
            due = time.monotonic() + LINE_SECONDS


def _readings(
    label: str, total: int, look: Callable[[], Reading], stop: threading.Event
) -> Iterator[tuple[Meter, Reading, bool]]:
    """Look until ``stop`` is set, and once more: each reading with a meter that has it, and whether it is the last."""
    meter, is_last = Meter(label, total), False
    while True:
        start = time.monotonic()
        reading = look()
        now = time.monotonic()
        meter.add(now, reading)
        yield meter, reading, is_last
        if is_last:
            return
        is_last = stop.wait(max(POLL_SECONDS, (now - start) / _MOST_LOOKING))


def _per_second(count: int, seconds: float) -> float:
    return max(count, 0) / seconds if seconds > 0 else 0.0
