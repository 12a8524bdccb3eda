"""Numbers to SVG coordinates: across in percent, so that a chart fits any width and its text keeps size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear axis from ``low`` to ``high`` with round ``ticks``, all within it."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def percent(self, value: float) -> float:
        """Where ``value`` stands on the axis, 0 to 100, rounded to what a screen can show."""
        return round(100 * (value - self.low) / (self.high - self.low), 3)


@dataclass(frozen=True)
class DotRow:
    """A dot with its interval; ``dim`` marks what the others are compared with."""

    name: str
    value: float
    interval: tuple[float, float] | None
    dim: bool


def scale(values: Iterable[float], most_ticks: int = 6) -> Scale:
    """An axis that covers ``values`` and begins and ends at a round number."""
    values = list(values)
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.05, high + 0.05
    step = _round_step((high - low) / (most_ticks - 1))
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = tuple(round(i * step, 10) for i in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks)


def scale_within(low: float, high: float, most_ticks: int = 6) -> Scale:
    """An axis that begins and ends where it is told, with round ticks between."""
    step = _round_step((high - low) / most_ticks)
    ticks = tuple(round(i * step, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1))
    return Scale(low, high, ticks)


def bars_path(counts: Sequence[int]) -> str:
    """The bars' outline in a box as wide as there are counts and 100 high, the highest bar filling it."""
    highest = max(counts)
    tops = (f"V{100 - 100 * count / highest:.2f}H{i}" for i, count in enumerate(counts, start=1))
    return f"M0 100{''.join(tops)}V100Z"


def polyline(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    """``points`` of an SVG polyline in a box of 100 by 100, larger values higher."""
    return " ".join(f"{x.percent(a):g},{100 - y.percent(b):g}" for a, b in points)


def _round_step(step: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
