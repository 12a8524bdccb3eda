"""Scaling laws: how an error falls with compute, E = a · C^-b + c.

Fitted as Hoffmann et al. 2022 (Training Compute-Optimal Large Language Models, section 3.3) do: Huber loss between the
logarithms, from many starts, c being what no compute removes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from clipsieve.evaluation.statistics.intervals import CONFIDENCE
from clipsieve.schemas.errors import InputError

LEAST_POINTS = 4
DRAWS = 200
_HUBER_DELTA = 1e-3
_EXPONENTS = (0.05, 0.2, 0.5, 1.0)
_FLOORS = (0.0, 0.3, 0.6, 0.9)
"""Starts of c, as shares of the least error."""


@dataclass(frozen=True)
class ScalingFit:
    """error = a · compute^-b + c, with the parameters of bootstrap draws for its band."""

    a: float
    b: float
    c: float
    draws: np.ndarray
    """float64[draws, 3]: a, b and c of each."""

    def predict(self, compute: np.ndarray) -> np.ndarray:
        """Compute [N], in the unit of the fit -> error [N]."""
        return _law(np.log(np.asarray(compute, np.float64)), np.log(self.a), self.b, self.c)

    def band(self, compute: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Low and high ends [N] of the 95% band of the law at ``compute``."""
        logs = np.log(np.asarray(compute, np.float64))[:, None]
        errors = _law(logs, np.log(self.draws[:, 0]), self.draws[:, 1], self.draws[:, 2])
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(errors, [tail, 1 - tail], axis=1)
        return low, high


def fit_scaling(compute: np.ndarray, error: np.ndarray, seed: int = 0) -> ScalingFit:
    """Fit the law to points [N]: compute in any one unit (say which), errors as fractions; b >= 0, c >= 0.

    The band is a bootstrap of the residuals in log space, scaled up for the three parameters that they have lost.
    InputError below 4 different computes: three parameters go through any three points.
    """
    compute, error = np.asarray(compute, np.float64), np.asarray(error, np.float64)
    if len(np.unique(compute)) < LEAST_POINTS:
        raise InputError(
            f"scaling fit: {len(np.unique(compute))} different computes; a law of three parameters needs at least "
            f"{LEAST_POINTS}"
        )
    if (compute <= 0).any() or (error <= 0).any():
        raise InputError("scaling fit: a compute or an error is not above 0; leave that point out")
    middle = float(np.log(compute).mean())
    logs, targets = np.log(compute) - middle, np.log(error)
    best = min((_descend(logs, targets, start) for start in _starts(logs, error)), key=lambda found: found[1])[0]
    fitted = np.log(_law(logs, *best))
    residuals = (targets - fitted) * np.sqrt(len(error) / max(1, len(error) - len(best)))
    generator = np.random.default_rng(seed)
    drawn = [_descend(logs, fitted + generator.choice(residuals, len(residuals)), best)[0] for _ in range(DRAWS)]
    a, b, c = _uncentred(best, middle)
    return ScalingFit(a, b, c, np.array([_uncentred(parameters, middle) for parameters in drawn]))


def _law(logs: np.ndarray, log_a: np.ndarray | float, b: np.ndarray | float, c: np.ndarray | float) -> np.ndarray:
    return np.exp(log_a - b * logs) + c


def _starts(logs: np.ndarray, error: np.ndarray) -> list[np.ndarray]:
    """(log a, b, c) on a grid of b and c, each with the log a that goes with them."""
    return [
        np.array([float(np.mean(np.log(error - floor * error.min()) + b * logs)), b, floor * error.min()])
        for b in _EXPONENTS
        for floor in _FLOORS
    ]


def _descend(logs: np.ndarray, targets: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
    """The parameters (log a, b, c) that a descent from ``start`` ends at, and their loss."""

    def residuals(parameters: np.ndarray) -> np.ndarray:
        return np.log(_law(logs, *parameters)) - targets

    def slopes(parameters: np.ndarray) -> np.ndarray:
        """float64[N, 3]: of each residual by log a, b and c."""
        powers = _law(logs, parameters[0], parameters[1], 0.0)
        return np.stack([powers, -logs * powers, np.ones_like(logs)], axis=1) / (powers + parameters[2])[:, None]

    found = least_squares(
        residuals,
        start,
        slopes,
        bounds=([-np.inf, 0.0, 0.0], [np.inf, np.inf, float(np.exp(targets.min()))]),
        loss="huber",
        f_scale=_HUBER_DELTA,
        x_scale=(0.1, 0.1, float(np.exp(targets.min()))),
        max_nfev=200,
    )
    return found.x, float(found.cost)


def _uncentred(parameters: np.ndarray, middle: float) -> tuple[float, float, float]:
    """a, b and c where the logarithms of compute were taken less ``middle``."""
    log_a, b, c = (float(value) for value in parameters)
    return float(np.exp(log_a + b * middle)), b, c
