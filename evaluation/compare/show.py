"""A comparison as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from clipsieve.evaluation.compare.laws import Robustness, Scaling
from clipsieve.evaluation.compare.run import Comparison, Line
from clipsieve.schemas.terminal import cell


def comparison_tables(comparison: Comparison) -> Iterator[Table]:
    """The differences, then the scaling fits and the effective robustness, where there are any."""
    yield _differences(comparison)
    if comparison.scalings:
        yield _scalings(comparison.scalings)
    for robustness in comparison.robustness:
        yield _robustness(robustness)


def points(fraction: float) -> str:
    """A fraction in signed percentage points."""
    return f"{100 * fraction:+.2f}"


def p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _differences(comparison: Comparison) -> Table:
    has_seeds = any(line.seed_deviation is not None for line in comparison.lines)
    headings = ["result", "model", "value", f"less {comparison.baseline}", "95% interval", "p"]
    table = Table(title="paired differences, percentage points")
    for place, heading in enumerate([*headings, *(["seeds' sd"] if has_seeds else [])]):
        table.add_column(cell(heading), justify="left" if place < 2 else "right", overflow="fold")
    previous = None
    for line in comparison.lines:
        is_first = previous is None or (previous.result, previous.metric) != (line.result, line.metric)
        if is_first:
            table.add_section()
        table.add_row(
            cell(line.result).append("\n").append(cell(line.metric)) if is_first else "", *_cells(line, has_seeds)
        )
        previous = line
    return table


def _cells(line: Line, has_seeds: bool) -> list[str | Text]:
    cells: list[str | Text] = [cell(line.model), f"{100 * line.value:.2f}%"]
    difference = line.difference
    if difference is None:
        return cells
    cells += [points(difference.value), f"{points(difference.low)} to {points(difference.high)}"]
    cells.append(p_value(difference.p_value))
    if has_seeds:
        cells.append("" if line.seed_deviation is None else f"{100 * line.seed_deviation:.2f}")
    return cells


def _scalings(scalings: tuple[Scaling, ...]) -> Table:
    table = Table(title="error = a · C^-b + c, C in GFLOPs of training")
    for place, heading in enumerate(("result", "metric", "models", "a", "b", "c")):
        table.add_column(cell(heading), justify="left" if place < 2 else "right")
    for each in scalings:
        fit = each.fit
        table.add_row(
            cell(each.result), cell(each.metric), str(len(each.points)), f"{fit.a:.4g}", f"{fit.b:.4f}", f"{fit.c:.4f}"
        )
    return table


def _robustness(robustness: Robustness) -> Table:
    table = Table(title=cell(f"effective robustness on {robustness.shift}, percentage points"))
    for place, heading in enumerate(("model", "imagenet1k", robustness.shift, "above the line")):
        table.add_column(cell(heading), justify="left" if place == 0 else "right")
    for model, reference, shifted, effective in robustness.points:
        table.add_row(cell(model), f"{100 * reference:.2f}%", f"{100 * shifted:.2f}%", points(effective))
    return table
