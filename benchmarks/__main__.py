"""``python -m benchmarks [NAME …] [--out FILE]``: run the benchmarks, print one table, write the rows as JSON."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks.timing import Row, cores
from clipsieve.schemas import files
from clipsieve.schemas.errors import ClipsieveError

NAMES = (
    "download",
    "index",
    "score",
    "dedup",
    "select",
    "reshard",
    "plan",
    "loader",
    "train",
    "small",
    "checkpoint",
    "evaluate",
)
"""Each is a module of this package with ``run(scratch: Path) -> list[Row]``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks that ``argv`` names; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; none: all")
    parser.add_argument("--out", metavar="FILE", help="write the rows as JSON, as benchmarks.json")
    chosen = parser.parse_args(argv)
    if unknown := sorted({*chosen.names} - {*NAMES}):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    rows: list[Row] = []
    try:
        with TemporaryDirectory(prefix="clipsieve-benchmarks-") as scratch:
            for name in chosen.names or NAMES:
                rows += import_module(f"benchmarks.{name}").run(Path(scratch))
    except ClipsieveError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.exit_status
    Console(width=None if sys.stdout.isatty() else 120).print(_table(rows))
    if chosen.out:
        files.write_bytes(chosen.out, _as_json(rows))
    return 0


def _table(rows: Sequence[Row]) -> Table:
    table = Table(
        title=f"{cores()} cores, Python {platform.python_version()}",
        caption="rate: median (least to greatest); time: by clipsieve's in the same round, median",
    )
    for heading in ("benchmark", "contender", "rate", "time", "load"):
        table.add_column(heading, justify="left" if heading in ("benchmark", "contender") else "right")
    for number, row in enumerate(rows):
        is_first = number == 0 or rows[number - 1].benchmark != row.benchmark
        if is_first and number:
            table.add_section()
        median, least, greatest = row.rates
        rate = f"{median:,.0f} {row.unit}/s ({least:,.0f} to {greatest:,.0f})"
        load = f"{row.load_average:.1f}" if is_first else ""
        table.add_row(row.benchmark if is_first else "", row.contender, rate, f"{row.times_first:.2f}", load)
    return table


def _as_json(rows: Sequence[Row]) -> bytes:
    machine = {"cores": cores(), "processor": platform.machine(), "python": platform.python_version()}
    return json.dumps({**machine, "rows": [asdict(row) for row in rows]}, indent=1).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main())
