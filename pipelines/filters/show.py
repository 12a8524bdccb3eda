"""Filters on a terminal: what the rules removed, and which rules there are."""

from __future__ import annotations

from rich.table import Table

from clipsieve.pipelines.filters.registry import NAMED, SETS
from clipsieve.pipelines.filters.signals import SIGNALS
from clipsieve.schemas.terminal import cell
from clipsieve.schemas.waterfall import read_waterfall


def waterfall_table(folder: str) -> Table:
    """What the rules of a folder of filters removed, a row a rule.

    Its columns: the pairs that the rule rejects, those that no earlier rule does, those that no other rule does, and
    how many pairs are left.
    """
    waterfall = read_waterfall(folder)
    table = Table("rule", "keeps")
    for heading in ("alone", "in order", "only this", "left"):
        table.add_column(heading, justify="right")
    left = waterfall.pairs
    table.add_row("", "", "", "", "", f"{left:,}", end_section=True)
    for rule in waterfall.rules:
        left -= rule.in_order
        text = "" if rule.text == rule.reason else rule.text
        counts = (f"{count:,}" for count in (rule.alone, rule.in_order, rule.only, left))
        table.add_row(cell(rule.reason), cell(text), *counts)
    return table


def rules_table() -> Table:
    """The named rules with their sets, then the computed columns that conditions may name."""
    table = Table("rule", "keeps", "what that is", "sets")
    for name, rule in NAMED.items():
        sets = ", ".join(each for each, members in SETS.items() if name in members)
        table.add_row(name, rule.text, rule.doc, sets, end_section=name == list(NAMED)[-1])
    for name, signal in SIGNALS.items():
        table.add_row("", name, signal.doc, "")
    return table
