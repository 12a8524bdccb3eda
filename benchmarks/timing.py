"""One way to measure for all benchmarks: contenders take turns at the same work, and each round is a fair pair."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from clipsieve.schemas.errors import ClipsieveError

RUNS = 3


@dataclass(frozen=True)
class Measured:
    """What one run did, in the benchmark's unit, and how long it took."""

    amount: int
    seconds: float


@dataclass(frozen=True)
class Contender:
    """One way to do the work."""

    name: str
    work: Callable[[Path], Measured]
    """Does the work once, in an empty folder."""


@dataclass(frozen=True)
class Row:
    """One contender's runs, in the order in which they were made."""

    benchmark: str
    contender: str
    unit: str
    amount: int
    seconds: tuple[float, ...]
    times_first: float
    """Median over the rounds of this contender's seconds by the first contender's in the same round."""
    load_average: float
    """Of the machine, over the minute before the first run."""

    @property
    def rates(self) -> tuple[float, float, float]:
        """Median, least and greatest amount a second."""
        rates = [self.amount / seconds for seconds in self.seconds]
        return statistics.median(rates), min(rates), max(rates)


def compare(benchmark: str, unit: str, contenders: Sequence[Contender], runs: int = RUNS) -> list[Row]:
    """Let the contenders, ours first, take turns for ``runs`` rounds; the turns rotate from round to round.

    Raises ClipsieveError where they did not all do the same amount of work.
    """
    load = os.getloadavg()[0]
    rounds = [_one_round(benchmark, contenders, turn) for turn in range(runs)]
    amounts = {measured.amount for done in rounds for measured in done}
    if len(amounts) > 1:
        raise ClipsieveError(f"{benchmark}: the contenders did different amounts of work: {sorted(amounts)}")
    amount = amounts.pop()
    rows = []
    for contender, runs_of in zip(contenders, zip(*rounds, strict=True), strict=True):
        ratios = [own.seconds / done[0].seconds for own, done in zip(runs_of, rounds, strict=True)]
        seconds = tuple(measured.seconds for measured in runs_of)
        rows.append(Row(benchmark, contender.name, unit, amount, seconds, statistics.median(ratios), load))
    return rows


def clocked(work: Callable[[Path], int]) -> Callable[[Path], Measured]:
    """``work``, which returns the amount it did, measured from call to return."""

    def measure(folder: Path) -> Measured:
        start = time.perf_counter()
        amount = work(folder)
        return Measured(amount, time.perf_counter() - start)

    return measure


def on_cpu(work: Callable[[Path], int]) -> Callable[[Path], Measured]:
    """``work``, measured in CPU seconds of this process and of those that it started and has waited for."""

    def spent() -> float:
        return sum(os.times()[:4])

    def measure(folder: Path) -> Measured:
        start = spent()
        amount = work(folder)
        gc.collect()  # a loader's processes end with it
        return Measured(amount, spent() - start)

    return measure


def clipsieve(*arguments: str) -> None:
    """Run the command `clipsieve` with ``arguments``; raises as `run_program`."""
    run_program(str(Path(sys.executable).with_name("clipsieve")), *arguments)


def python(*arguments: str) -> None:
    """Run the interpreter with ``arguments``; raises as `run_program`."""
    run_program(sys.executable, *arguments)


def run_program(*command: str) -> None:
    """Run ``command``; raises ClipsieveError with the last line that it wrote when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise ClipsieveError(f"{' '.join(command[:3])}: exit status {done.returncode}: {said}")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _one_round(benchmark: str, contenders: Sequence[Contender], turn: int) -> list[Measured]:
    measured: dict[str, Measured] = {}
    first = turn % len(contenders)
    for contender in (*contenders[first:], *contenders[:first]):
        with TemporaryDirectory(prefix="clipsieve-benchmark-") as folder:
            measured[contender.name] = contender.work(Path(folder))
        seconds = measured[contender.name].seconds
        print(f"{benchmark}, {contender.name}: {seconds:.2f} s", file=sys.stderr, flush=True)
    return [measured[contender.name] for contender in contenders]
