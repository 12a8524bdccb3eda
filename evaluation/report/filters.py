"""What each filter rule removed: a waterfall in the rules' order, and how much the rules overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass

from clipsieve.schemas.waterfall import RuleCounts, Waterfall

SHADES = 5


@dataclass(frozen=True)
class Cell:
    """Of the pairs that a row's rule rejects, the ``share`` that a column's rejects too; None where it rejects none."""

    share: float | None

    @property
    def shade(self) -> int:
        """0 to 4, the darker the larger the share."""
        return min(SHADES - 1, math.floor(self.share * SHADES)) if self.share is not None else 0


@dataclass(frozen=True)
class RuleView:
    """A rule of the waterfall; ``left`` pairs pass it and all before it, and widths are percentages of all pairs."""

    rule: RuleCounts
    left: int
    left_width: float
    removed_width: float
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class FiltersView:
    pairs: int
    kept: int
    rules: tuple[RuleView, ...]


def filters_view(waterfall: Waterfall) -> FiltersView:
    views, left = [], waterfall.pairs
    for rule in waterfall.rules:
        left -= rule.in_order
        cells = tuple(Cell(count / rule.alone if rule.alone else None) for count in rule.both)
        views.append(RuleView(rule, left, _width(left, waterfall), _width(rule.in_order, waterfall), cells))
    return FiltersView(waterfall.pairs, waterfall.kept, tuple(views))


def _width(count: int, waterfall: Waterfall) -> float:
    return round(100 * count / max(1, waterfall.pairs), 3)
