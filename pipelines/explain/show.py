"""An explanation in the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rich.console import Group
from rich.table import Table
from rich.text import Text

from clipsieve.pipelines.explain.find import Explanation, Found
from clipsieve.schemas.terminal import cell, printable

_NOT_SHOWN = ("uid",)
_OF_RESHARDED = ("key", "tar_offset", "tar_size")
"""The rest of a resharded row is the shards'."""


def show(explained: Explanation) -> Group:
    """A table of all that is known of a pair, a section for each folder that holds it."""
    table = Table("", "", title=explained.uid, caption=cell(explained.verdict), show_header=False)
    resharded = [
        replace(found, values={name: found.values[name] for name in _OF_RESHARDED}) for found in explained.resharded
    ]
    for title, rows in (
        ("in the shards", explained.shards),
        ("judged", explained.judged),
        ("kept instead", explained.kept),
        ("resharded", resharded),
    ):
        for found in rows:
            _add(table, title, found)
    ends = {"in": explained.members_of, "models trained on it": explained.models}
    _add_rows(table, ((name, ", ".join(values)) for name, values in ends.items() if values))
    return Group(table, cell(f"picture: {explained.image}" if explained.image else "no picture"))


def _add(table: Table, title: str, found: Found) -> None:
    table.add_section()
    table.add_row(*(Text(printable(text), "bold") for text in (title, f"{found.path} row {found.row}")))
    _add_rows(table, ((name, value) for name, value in found.values.items() if name not in _NOT_SHOWN))


def _add_rows(table: Table, rows: Iterable[tuple[str, object]]) -> None:
    for name, value in rows:
        table.add_row(cell(name), cell(value))
