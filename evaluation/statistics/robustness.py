"""Effective robustness: accuracy under a shift of the data beyond what accuracy without it foretells.

Taori et al. 2020 (Measuring Robustness to Natural Distribution Shifts), section 2: over ordinary models the two
accuracies lie on a line once both axes are logits. ImageNet-A was chosen by what a ResNet-50 got wrong; its line bends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from clipsieve.schemas.errors import InputError

BENDS = {"imagenet-a": 0.5}
"""Of the shifts whose line has two pieces, the accuracy without a shift at which they meet."""


@dataclass(frozen=True)
class RobustnessLine:
    """logit(shifted) = intercept + slope · logit(reference), and ``turn`` steeper from ``bend`` on."""

    intercept: float
    slope: float
    turn: float = 0.0
    bend: float | None = None

    def expected(self, reference: np.ndarray) -> np.ndarray:
        """Accuracies without the shift [N] -> those that an ordinary model has under it."""
        return expit(_design(reference, self.bend) @ self._coefficients())

    def effective(self, reference: np.ndarray, shifted: np.ndarray) -> np.ndarray:
        """Effective robustness [N]: how far accuracies under the shift lie above the line, as fractions."""
        return np.asarray(shifted, np.float64) - self.expected(reference)

    def _coefficients(self) -> np.ndarray:
        every = np.array([self.intercept, self.slope, self.turn])
        return every if self.bend is not None else every[:2]


def fit_robustness(reference: np.ndarray, shifted: np.ndarray, bend: float | None = None) -> RobustnessLine:
    """Least squares on logit axes over models' accuracies without and with a shift, fractions [N] within (0, 1).

    ``bend``: the line has two pieces that meet at this accuracy without the shift, where models on both sides say so.
    InputError where there are no more models than coefficients, or an accuracy is 0 or 1.
    """
    reference, shifted = np.asarray(reference, np.float64), np.asarray(shifted, np.float64)
    if not all(((values > 0) & (values < 1)).all() for values in (reference, shifted)):
        raise InputError(
            "effective robustness: an accuracy is 0 or 1, which logit axes do not have; leave that one out"
        )
    if bend is not None and min((reference > bend).sum(), (reference < bend).sum()) < 2:
        bend = None  # one piece is all that these models can show
    design = _design(reference, bend)
    if len(np.unique(reference)) <= design.shape[1]:
        raise InputError(
            f"effective robustness: {len(np.unique(reference))} models of different accuracy; a line through "
            f"{'two pieces' if bend is not None else 'one'} needs at least {design.shape[1] + 1}"
        )
    found = np.linalg.lstsq(design, logit(shifted), rcond=None)[0]
    return RobustnessLine(float(found[0]), float(found[1]), float(found[2]) if bend is not None else 0.0, bend)


def _design(reference: np.ndarray, bend: float | None) -> np.ndarray:
    """float64[N, 2 or 3]: one, the logit, and with a bend how far the logit is beyond it."""
    logits = logit(np.asarray(reference, np.float64))
    columns = [np.ones_like(logits), logits]
    if bend is not None:
        columns.append(np.maximum(0.0, logits - logit(bend)))
    return np.stack(columns, axis=-1)
