"""Effective robustness against accuracies generated on a known line."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from clipsieve.evaluation.statistics.robustness import fit_robustness
from clipsieve.schemas.errors import InputError

REFERENCE = np.linspace(0.2, 0.8, 9)


def test_a_line_on_logit_axes_is_found_and_what_lies_above_it_is_robust():
    shifted = expit(0.9 * logit(REFERENCE) - 0.7)
    line = fit_robustness(REFERENCE, shifted)
    assert (line.slope, line.intercept) == (pytest.approx(0.9), pytest.approx(-0.7))
    np.testing.assert_allclose(line.effective(REFERENCE, shifted), 0, atol=1e-12)
    assert line.effective(np.array([0.5]), np.array([0.6])) == pytest.approx(0.6 - expit(-0.7))


def test_the_line_is_least_squares():
    shifted = np.clip(REFERENCE - 0.1 + np.random.default_rng(0).normal(0, 0.02, 9), 0.01, 0.99)
    slope, intercept = np.polyfit(logit(REFERENCE), logit(shifted), 1)
    line = fit_robustness(REFERENCE, shifted)
    assert (line.slope, line.intercept) == (pytest.approx(slope), pytest.approx(intercept))


def test_imagenet_a_has_two_pieces_that_meet():
    logits = logit(REFERENCE)
    shifted = expit(0.3 * logits - 3 + 2.0 * np.maximum(logits, 0))
    line = fit_robustness(REFERENCE, shifted, bend=0.5)
    assert (line.slope, line.turn, line.bend) == (pytest.approx(0.3), pytest.approx(2.0), 0.5)
    np.testing.assert_allclose(line.expected(REFERENCE), shifted)
    below = line.expected(np.array([0.5 - 1e-9, 0.5 + 1e-9]))
    assert below[0] == pytest.approx(below[1], abs=1e-6)
    straight = fit_robustness(REFERENCE, shifted)
    assert np.abs(straight.effective(REFERENCE, shifted)).max() > 0.02


def test_one_piece_is_fitted_where_models_lie_on_one_side():
    reference = REFERENCE[REFERENCE < 0.5]
    line = fit_robustness(reference, reference - 0.1, bend=0.5)
    assert (line.turn, line.bend) == (0, None)


def test_too_few_models_and_impossible_accuracies_are_refused():
    with pytest.raises(InputError, match="2 models of different accuracy; a line through one needs at least 3"):
        fit_robustness(np.array([0.3, 0.4, 0.4]), np.array([0.2, 0.3, 0.3]))
    with pytest.raises(InputError, match="an accuracy is 0 or 1"):
        fit_robustness(np.array([0.3, 0.4, 1.0]), np.array([0.2, 0.3, 0.3]))
