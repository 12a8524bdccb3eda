"""A comparison as one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipsieve.evaluation.compare.laws import Scaling
from clipsieve.evaluation.compare.run import Comparison, Line
from clipsieve.evaluation.compare.show import p_value
from clipsieve.evaluation.pages import charts
from clipsieve.evaluation.pages.charts import DotRow, Scale
from clipsieve.evaluation.pages.rendering import render_page
from clipsieve.schemas import files

_CURVE_POINTS = 60


@dataclass(frozen=True)
class MetricView:
    """One metric of one result: the values, and the differences from the first model."""

    result: str
    metric: str
    values: tuple[DotRow, ...]
    axis: Scale
    differences: tuple[DotRow, ...]
    difference_axis: Scale | None


@dataclass(frozen=True)
class ScalingView:
    """Error by compute on logarithmic axes; curve and band are points of a box of 100 by 100."""

    scaling: Scaling
    curve: str
    band: str
    dots: tuple[tuple[str, float, float], ...]
    x: Scale
    y: Scale


def write_page(comparison: Comparison, path: str) -> None:
    """Write the comparison's page. Equal comparisons give equal bytes."""
    page = render_page(
        Path(__file__).with_name("compare.html"),
        comparison=comparison,
        metrics=_metric_views(comparison),
        scalings=[_scaling_view(each) for each in comparison.scalings],
        p_value=p_value,
    )
    files.write_if_changed(path, page)


def _metric_views(comparison: Comparison) -> list[MetricView]:
    of_metric: dict[tuple[str, str], list[Line]] = {}
    for line in comparison.lines:
        of_metric.setdefault((line.result, line.metric), []).append(line)
    return [_metric_view(result, metric, lines) for (result, metric), lines in of_metric.items()]


def _metric_view(result: str, metric: str, lines: Sequence[Line]) -> MetricView:
    values = [DotRow(line.model, line.value, None, dim=line is lines[0]) for line in lines]
    differences = [
        DotRow(line.model, each.value, (each.low, each.high), dim=each.low <= 0 <= each.high)
        for line in lines
        if (each := line.difference)
    ]
    ends = [end for row in differences for end in row.interval or ()]
    return MetricView(
        result,
        metric,
        tuple(values),
        charts.scale([row.value for row in values]),
        tuple(differences),
        charts.scale([0.0, *ends]) if ends else None,
    )


def _scaling_view(scaling: Scaling) -> ScalingView:
    compute, error = (np.array([point[place] for point in scaling.points]) for place in (1, 2))
    along = np.geomspace(compute.min(), compute.max(), _CURVE_POINTS)
    low, high = scaling.fit.band(along)
    x = charts.scale(np.log10(compute).tolist())
    y = charts.scale(np.log10([error.min(), error.max(), low.min(), high.max()]).tolist(), most_ticks=5)
    logs = np.log10(along).tolist()
    edge = [*zip(logs, np.log10(high), strict=True), *reversed([*zip(logs, np.log10(low), strict=True)])]
    return ScalingView(
        scaling,
        charts.polyline([*zip(logs, np.log10(scaling.fit.predict(along)), strict=True)], x, y),
        charts.polyline(edge, x, y),
        tuple((name, x.percent(np.log10(c)), 100 - y.percent(np.log10(e))) for name, c, e in scaling.points),
        x,
        y,
    )
