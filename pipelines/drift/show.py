"""Drift on a terminal: the pairs by verdict, in all and of the hosts that drifted most."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from clipsieve.pipelines.drift.verdicts import count_hosts, count_verdicts
from clipsieve.schemas import files
from clipsieve.schemas.drift import GONE, Verdict

HOSTS_SHOWN = 10


def drift_table(folder: str) -> Table:
    """The pairs of a folder of drift by verdict, a column each: in all, then of the hosts that lost most images."""
    paths = files.list_files(folder, ".parquet")
    table = Table("host")
    for verdict in Verdict:
        table.add_column(verdict.value, justify="right")
    everything = count_verdicts(paths).shown
    table.add_row("all", *(f"{everything[verdict.value]:,}" for verdict in Verdict), end_section=True)
    by = count_hosts(paths)
    gone = {host: sum(counts[verdict.value] for verdict in GONE) for host, counts in by.items()}
    worst = sorted((host for host in by if gone[host]), key=lambda host: (-gone[host], host))
    for host in worst[:HOSTS_SHOWN]:
        table.add_row(escape(host), *(f"{by[host][verdict.value]:,}" for verdict in Verdict))
    if len(worst) > HOSTS_SHOWN:
        table.caption = f"and {len(worst) - HOSTS_SHOWN:,} hosts more"
    return table
