"""What can be evaluated: every task that is known or found under a data folder."""

from __future__ import annotations

from rich.table import Table

from evaluation.catalogue import BY_SLUG, KNOWN
from evaluation.datasets import data_sets
from evaluation.layouts import layout_of
from schemas import files


def task_table(data: str) -> Table:
    """A row a task: what it needs, under which name ``data`` has it, and where outside users get it."""
    found = data_sets(data)
    table = Table()
    for heading in ("task", "needs", f"in {data}", "where to get it"):
        table.add_column(heading, overflow="fold")
    for known in KNOWN:
        table.add_row(known.slug, known.needs, _place(found.get(known.data_slug)), known.where)
    for slug, path in found.items():
        if slug not in BY_SLUG:
            table.add_row(slug, "", _place(path), "")
    return table


def _place(path: str | None) -> str:
    layout = layout_of(path) if path else None
    return f"{files.name_of(path)} ({layout.value})" if path and layout else "not found"
