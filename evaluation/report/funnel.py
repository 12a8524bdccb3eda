"""From the rows of the input table to the pairs that models are trained on: what is lost where, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipsieve.evaluation.pages import words
from clipsieve.evaluation.report.cuts import SubsetCut
from clipsieve.evaluation.report.models import ModelRun
from clipsieve.evaluation.report.scored_pool import ScoredPool
from clipsieve.schemas.counts import DownloadCounts


@dataclass(frozen=True)
class Loss:
    reason: str
    count: int


@dataclass(frozen=True)
class Step:
    """``count`` pairs are left after ``losses``."""

    name: str
    count: int
    losses: tuple[Loss, ...] = ()


def funnel(
    download: DownloadCounts | None, pool: ScoredPool, cuts: Sequence[SubsetCut], models: Sequence[ModelRun]
) -> list[Step]:
    """The steps in order; ``download`` is that stage's counts, None where other software made the shards.

    The last steps are the models' pairs, or the cuts where nothing is trained; each begins at the eligible
    pairs.
    """
    steps = _downloaded(download, pool.scored) if download else [Step("Pairs scored", pool.scored)]
    steps.append(_step("Eligible for selection", pool.scored, pool.eligible, pool.rejected))
    if models:
        ends = [
            (f"Trained on by {each.name}", each.pairs, None if each.data.is_all else words.trained_on(each.data))
            for each in models
        ]
    else:
        ends = [(f"In the {words.subset(cut.name)}", cut.count, words.subset(cut.name)) for cut in cuts]
    for name, count, subset in ends:
        left_out = Loss(f"not in the {subset}", pool.eligible - count)
        steps.append(Step(name, count, (left_out,) if subset else ()))
    return steps


def _downloaded(counts: DownloadCounts, scored: int) -> list[Step]:
    errors = {error.value: rows for error, rows in counts.errors.items()}
    return [
        Step("Rows in the table", counts.rows),
        _step("Distinct requested pairs", counts.rows, counts.distinct, {"duplicates": counts.duplicates}),
        _step("Images downloaded", counts.distinct, counts.success, errors),
        _step("Pairs scored", counts.success, scored, {}),
    ]


def _step(name: str, before: int, after: int, reasons: Mapping[str, int]) -> Step:
    """A step whose losses add up: what no reason explains is shown as such."""
    losses = [Loss(words.loss(reason), count) for reason, count in reasons.items() if count]
    losses.sort(key=lambda loss: (-loss.count, loss.reason))
    unexplained = before - after - sum(loss.count for loss in losses)
    if unexplained:
        losses.append(Loss("for a reason that no manifest names", unexplained))
    return Step(name, after, tuple(losses))
