"""What the template shows: each section's numbers and places, made from a `ReportedRun` by pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from clipsieve.evaluation.pages import charts
from clipsieve.evaluation.pages.charts import DotRow, Scale
from clipsieve.evaluation.report.collect import ReportedRun
from clipsieve.evaluation.report.comparisons import SubsetComparison
from clipsieve.evaluation.report.cuts import SubsetCut
from clipsieve.evaluation.report.galleries import Card
from clipsieve.evaluation.report.histogram import Stop, for_drawing, occupied, stops
from clipsieve.evaluation.report.models import Result
from clipsieve.evaluation.report.scored_pool import Band, ScoredPair, by_rank
from clipsieve.evaluation.statistics.intervals import Estimate, wilson


@dataclass(frozen=True)
class HistogramView:
    """``path`` lies in a box ``bars`` wide and 100 high; ``start`` is the threshold's first stop."""

    path: str
    bars: int
    axis: Scale
    stops: tuple[Stop, ...]
    start: int
    eligible: int

    @property
    def places(self) -> list[tuple[float, int, str | None]]:
        """The stops as the script reads them."""
        return [(stop.similarity, stop.kept, stop.cut) for stop in self.stops]


@dataclass(frozen=True)
class BandView:
    name: str
    count: int
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class BorderView:
    cut: SubsetCut
    above: tuple[Card, ...]
    below: tuple[Card, ...]


@dataclass(frozen=True)
class SwappedView:
    """Of ``declared`` pairs of a band, the share whose captions the input says were swapped."""

    band: str
    declared: int
    share: Estimate


@dataclass(frozen=True)
class TaskView:
    """One metric of one task: the models' values, and their differences from the one trained on all pairs."""

    result: Result
    values: tuple[DotRow, ...]
    axis: Scale
    differences: tuple[DotRow, ...]
    difference_axis: Scale | None

    def value_of(self, model: str) -> float | None:
        return next((row.value for row in self.values if row.name == model), None)


@dataclass(frozen=True)
class CurveView:
    name: str
    points: str
    last_loss: float


@dataclass(frozen=True)
class LossView:
    """Loss by step; the curves lie in a box of 100 by 100."""

    curves: tuple[CurveView, ...]
    steps: Scale
    losses: Scale


def histogram_view(run: ReportedRun) -> HistogramView:
    counted = occupied(run.pool.fine)
    drawn = for_drawing(counted)
    places = stops(counted, run.cuts)
    start = next((i for i, stop in enumerate(places) if run.main_cut and stop.cut == run.main_cut.name), 0)
    axis = charts.scale_within(drawn.low, drawn.high)
    return HistogramView(charts.bars_path(drawn.counts), len(drawn.counts), axis, places, start, run.pool.eligible)


def band_views(run: ReportedRun) -> list[BandView]:
    named = zip(band_names(run.cuts), run.pool.bands, strict=True)
    return [BandView(name, band.count, _cards(run, band.drawn)) for name, band in named]


def border_views(run: ReportedRun) -> list[BorderView]:
    borders = zip(run.cuts, run.pool.borders, strict=True)
    return [BorderView(cut, _cards(run, border.above), _cards(run, border.below)) for cut, border in borders]


def band_names(cuts: Sequence[SubsetCut]) -> list[str]:
    """``0–20%``, ``20–40%`` …, the best first: shares of the eligible pairs."""
    percents = [0.0, *(cut.percent for cut in cuts), 100.0]
    return [f"{low:g}\N{EN DASH}{high:g}%" for low, high in pairwise(percents)]


def swapped_views(run: ReportedRun) -> list[SwappedView]:
    """The bands' shares of swapped captions; none where the input declares no swaps."""
    named = zip(band_names(run.cuts), run.pool.bands, strict=True)
    return [SwappedView(name, band.declared, _swapped_share(band)) for name, band in named if band.declared]


def task_views(run: ReportedRun) -> list[TaskView]:
    """The tasks in the order of the evaluations' results; a task that only some models did shows those."""
    results: dict[tuple[str, str], Result] = {}
    for model in run.models:
        for result in model.results:
            results.setdefault((result.task, result.metric), result)
    return [_task_view(run, result) for result in results.values()]


def loss_view(run: ReportedRun) -> LossView | None:
    models = [model for model in run.models if model.losses]
    if not models:
        return None
    steps = charts.scale([0, *(step for model in models for step, _ in model.losses)])
    losses = charts.scale([0.0, *(loss for model in models for _, loss in model.losses)], most_ticks=5)
    curves = [
        CurveView(
            name=model.name,
            points=charts.polyline(model.losses, steps, losses),
            last_loss=model.losses[-1][1],
        )
        for model in models
    ]
    return LossView(tuple(curves), steps, losses)


def _cards(run: ReportedRun, pairs: Sequence[ScoredPair]) -> tuple[Card, ...]:
    return tuple(run.cards[pair.uid] for pair in sorted(pairs, key=by_rank))


def _swapped_share(band: Band) -> Estimate:
    share = band.swapped / band.declared
    return Estimate(share, *wilson(share, band.declared))


def _task_view(run: ReportedRun, result: Result) -> TaskView:
    values = [
        DotRow(model.name, found.value, found.interval, model.data.is_all)
        for model in run.models
        for found in model.results
        if _same_metric(found, result)
    ]
    compared = [comparison for comparison in run.comparisons if _same_metric(comparison.result, result)]
    differences = [_difference_row(comparison) for comparison in compared]
    ends = [end for row in differences for end in row.interval or ()]
    return TaskView(
        result=result,
        values=tuple(values),
        axis=charts.scale([end for row in values for end in (row.value, *(row.interval or ()))]),
        differences=tuple(differences),
        difference_axis=charts.scale([0.0, *ends]) if ends else None,
    )


def _same_metric(first: Result, second: Result) -> bool:
    return (first.task, first.metric) == (second.task, second.metric)


def _difference_row(comparison: SubsetComparison) -> DotRow:
    difference = comparison.difference
    name = f"{comparison.model.name} \N{MINUS SIGN} {comparison.baseline.name}"
    return DotRow(name, difference.value, (difference.low, difference.high), dim=False)
