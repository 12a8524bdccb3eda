"""A takedown in the terminal: what went from where, and what it did not touch."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table

from clipsieve.pipelines.takedown.plan import TakedownPlan
from clipsieve.schemas.terminal import cell


def show(plan: TakedownPlan, run_dir: str, dry_run: bool) -> Group:
    """What ``plan`` removes, or with ``dry_run`` would, as a table of folders and a few lines."""
    if not plan.touched:
        return Group(cell(f"{run_dir}: holds no pair that the list names; nothing to take down"))
    table = Table("folder", "pairs", "files", title=f"{'Would take' if dry_run else 'Took'} down {plan.pairs:,} pairs")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, files in plan.touched.items():
        table.add_row(cell(name), f"{plan.folder_pairs[name]:,}", f"{len(files):,}")
    lines = [f"{name}: was trained on {pairs:,} of them, and is left as it is" for name, pairs in plan.models.items()]
    lines.append("The input table is left as it is: give download the same list with --opt-out from now on.")
    lines.append("A report of the run shows pictures, and goes too: clipsieve report writes it anew.")
    return Group(table, *map(cell, lines))
