"""``clipsieve compare``: every contender against the first, on all that they were evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipsieve.evaluation.compare.differences import Drawn, drawn_difference
from clipsieve.evaluation.compare.evaluations import Contender, read_contenders, shared_keys
from clipsieve.evaluation.compare.laws import Robustness, Scaling, robustness, scaling
from clipsieve.evaluation.datasets.catalogue import BY_SLUG
from clipsieve.evaluation.results.averages import AVERAGES
from clipsieve.evaluation.statistics.paired import Difference, difference_of

_METRICS = {
    "zeroshot_retrieval": tuple(f"{way}_retrieval_recall@{k}" for way in ("text", "image") for k in (1, 5, 10)),
}
"""What is compared of a kind of result; of the others their main metric."""
_MAIN = ("mean_average_precision", "acc1")


@dataclass(frozen=True)
class Line:
    """One contender's value of one metric, and how it differs from the first contender's."""

    result: str
    metric: str
    model: str
    value: float
    difference: Difference | None
    """None of the first contender, and of a metric whose samples are not kept."""
    seed_deviation: float | None


@dataclass(frozen=True)
class Comparison:
    """All that a comparison found; ``baseline`` names the first contender."""

    baseline: str
    models: tuple[str, ...]
    lines: tuple[Line, ...]
    scalings: tuple[Scaling, ...]
    robustness: tuple[Robustness, ...]


def compare(folders: Sequence[str]) -> Comparison:
    """Compare evaluation folders, each against the first; one word may name several seeds' folders, commas between.

    InputError where a folder has no results, they share no task, or a task's data, preset or protocol differ.
    """
    contenders = read_contenders(folders)
    keys = shared_keys(contenders)
    lines, drawn = [], {}
    for key in keys:
        for metric in _metrics(contenders[0], key):
            for model in contenders:
                value = model.value(key, metric)
                if value is None:
                    continue
                found = drawn_difference(model, contenders[0], key, metric) if model != contenders[0] else None
                if found is not None:
                    drawn[key, metric, model.name] = found
                lines.append(_line(key, metric, model.name, value, found))
    return Comparison(
        contenders[0].name,
        tuple(contender.name for contender in contenders),
        (*lines, *_averages(lines, drawn, contenders)),
        scaling(contenders, [(line.result, line.metric) for line in lines if line.model == contenders[0].name]),
        robustness(contenders, keys),
    )


def _metrics(contender: Contender, key: str) -> tuple[str, ...]:
    row = contender.runs[0].rows[key]
    if row["task"] in _METRICS:
        return _METRICS[row["task"]]
    if key in BY_SLUG:
        return (BY_SLUG[key].main_metric,)
    return tuple(metric for metric in _MAIN if metric in row["metrics"])[:1] or ("main_metric",)


def _line(result: str, metric: str, model: str, value: float, drawn: Drawn | None) -> Line:
    difference = difference_of(drawn.value, drawn.draws) if drawn else None
    return Line(result, metric, model, value, difference, drawn.seed_deviation if drawn else None)


def _averages(
    lines: Sequence[Line], drawn: dict[tuple[str, str, str], Drawn], contenders: Sequence[Contender]
) -> list[Line]:
    """A line a model of each named average whose results are all there; their samples are drawn independently."""
    averaged = []
    for name, keys in AVERAGES.items():
        for model in contenders:
            own = [line for line in lines if line.model == model.name and line.result in keys]
            if len(own) < len(keys):
                continue
            value = float(np.mean([line.value for line in own]))
            parts = [found for line in own if (found := drawn.get((line.result, line.metric, line.model)))]
            whole = None
            if len(parts) == len(keys):
                draws = np.mean([part.draws for part in parts], axis=0)
                whole = Drawn(float(np.mean([part.value for part in parts])), draws, None)
            averaged.append(_line(name, "main_metric", model.name, value, whole))
    return averaged
