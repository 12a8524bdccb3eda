"""Laws over many models: how error falls with compute, and which are robust beyond their accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipsieve.evaluation.compare.evaluations import Contender
from clipsieve.evaluation.statistics.robustness import BENDS, RobustnessLine, fit_robustness
from clipsieve.evaluation.statistics.scaling import LEAST_POINTS, ScalingFit, fit_scaling

REFERENCE = "imagenet1k"
SHIFTS = ("imagenet-a", "imagenet-r", "imagenet_sketch", "imagenetv2", "objectnet")
_LEAST_MODELS = 4


@dataclass(frozen=True)
class Scaling:
    """Error of a metric by training compute, GFLOPs, over the models; ``points`` are (model, compute, error)."""

    result: str
    metric: str
    points: tuple[tuple[str, float, float], ...]
    fit: ScalingFit


@dataclass(frozen=True)
class Robustness:
    """Accuracy under a shift by accuracy without it; ``points`` are (model, reference, shifted, effective)."""

    shift: str
    points: tuple[tuple[str, float, float, float], ...]
    line: RobustnessLine


def scaling(contenders: Sequence[Contender], metrics: Sequence[tuple[str, str]]) -> tuple[Scaling, ...]:
    """A fit for each (result, metric) over the contenders whose training compute is known; none below 4 computes."""
    fits = []
    for result, metric in metrics:
        points = [
            (model.name, compute, 1 - value)
            for model in contenders
            if (compute := model.compute) and (value := model.value(result, metric)) is not None and value < 1
        ]
        if len({compute for _, compute, _ in points}) >= LEAST_POINTS:
            fit = fit_scaling(np.array([point[1] for point in points]), np.array([point[2] for point in points]))
            fits.append(Scaling(result, metric, tuple(points), fit))
    return tuple(fits)


def robustness(contenders: Sequence[Contender], keys: Sequence[str]) -> tuple[Robustness, ...]:
    """Of each of ImageNet's shifts the line through at least 4 contenders, and how far each lies above it."""
    found = []
    for shift in SHIFTS if REFERENCE in keys else ():
        points = [
            (model.name, reference, shifted)
            for model in contenders
            if (reference := model.value(REFERENCE, "acc1")) and (shifted := model.value(shift, "acc1"))
            if reference < 1 and shifted < 1
        ]
        if shift in keys and len({reference for _, reference, _ in points}) >= _LEAST_MODELS:
            x, y = (np.array([point[place] for point in points]) for place in (1, 2))
            line = fit_robustness(x, y, _bend(shift, x))
            effective = line.effective(x, y).tolist()
            found.append(Robustness(shift, tuple((*p, e) for p, e in zip(points, effective, strict=True)), line))
    return tuple(found)


def _bend(shift: str, reference: np.ndarray) -> float | None:
    """Where the shift's line bends, if there are models enough for two pieces."""
    return BENDS.get(shift) if len(np.unique(reference)) > _LEAST_MODELS else None
