"""The difference of two contenders in one metric of one result."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipsieve.evaluation.compare.evaluations import Contender, Evaluation
from clipsieve.evaluation.protocols.multilabel import METRIC as MEAN_AVERAGE_PRECISION
from clipsieve.evaluation.protocols.multilabel import mean_average_precision, read_ranking, resampled
from clipsieve.evaluation.results.hits import Hits, read_hits
from clipsieve.evaluation.statistics.paired import by_cluster, paired_draws
from clipsieve.evaluation.statistics.variance import split_variance
from clipsieve.schemas.errors import InputError


@dataclass(frozen=True)
class Drawn:
    """A difference and what it is in each bootstrap draw, float64[draws]."""

    value: float
    draws: np.ndarray
    seed_deviation: float | None
    """Standard deviation of the difference that other seeds of the runs would give; None of single runs."""


def drawn_difference(model: Contender, baseline: Contender, key: str, metric: str) -> Drawn | None:
    """``model`` less ``baseline``; None where the metric is no mean over samples, or of fewer than two."""
    seed = zlib.crc32(key.encode())  # tasks are drawn apart, so that their errors average out in an average
    if metric == MEAN_AVERAGE_PRECISION:
        return _precision_difference(model, baseline, key, seed)
    ours, theirs = (_all_hits(contender, key, metric) for contender in (model, baseline))
    if ours is None or theirs is None or len(np.unique(ours[0].ids)) < 2:
        return None
    for hits in (*ours, *theirs):
        if not np.array_equal(hits.ids, ours[0].ids):
            raise InputError(f"compare: {key}: {model.name} and {baseline.name} have not the same samples")
    first, second = (np.mean([hits.values for hits in own], axis=0) for own in (ours, theirs))
    value, draws = paired_draws(first, second, ours[0].ids, ours[0].weights, seed)
    if max(len(ours), len(theirs)) == 1:
        return Drawn(value, draws, None)
    deviation = float(np.hypot(_seed_error(ours), _seed_error(theirs)))
    noise = np.random.default_rng(seed).normal(0.0, deviation, len(draws))
    return Drawn(value, draws + noise, deviation)


def _all_hits(contender: Contender, key: str, metric: str) -> list[Hits] | None:
    hits = [_read(run, key, metric) for run in contender.runs]
    return [own for own in hits if own is not None] if None not in hits else None


def _read(run: Evaluation, key: str, metric: str) -> Hits | None:
    return read_hits(run.samples_folder, key, metric, run.rows[key]["metrics"][metric])


def _seed_error(runs: Sequence[Hits]) -> float:
    """Standard deviation of the mean over runs that the runs' seeds cause; 0 of a single run, which cannot tell."""
    if len(runs) == 1:
        return 0.0
    per_sample = []
    for hits in runs:
        values, weights = by_cluster(hits.values, hits.weights, hits.ids)
        per_sample.append(values * weights * len(weights) / weights.sum())
    return split_variance(np.stack(per_sample)).seed / float(np.sqrt(len(runs)))


def _precision_difference(model: Contender, baseline: Contender, key: str, seed: int) -> Drawn:
    """Of mean average precision, which is no mean over images: taken anew over each draw of them."""
    ours, theirs = ([read_ranking(run.samples_folder, key) for run in each.runs] for each in (model, baseline))
    if any(ranking.ids != ours[0].ids for ranking in (*ours, *theirs)):
        raise InputError(f"compare: {key}: {model.name} and {baseline.name} have not the same samples")

    def difference(counts: np.ndarray) -> float:
        first, second = (
            np.mean([mean_average_precision(ranking.is_of, ranking.order, counts) for ranking in own])
            for own in (ours, theirs)
        )
        return float(first - second)

    images = len(ours[0].ids)
    drawn = np.array([difference(counts) for counts in resampled(images, seed)])
    return Drawn(difference(np.ones(images)), drawn, None)
