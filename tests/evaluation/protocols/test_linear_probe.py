"""The probe against scikit-learn's logistic regression, and the choice of its learning rate."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from clipsieve.evaluation.evaluate import run
from clipsieve.evaluation.protocols import linear_probe
from clipsieve.evaluation.protocols.linear_probe import fit_probe, held_out, train_heads
from clipsieve.schemas.options import EvaluateOptions

CPU = torch.device("cpu")

pytestmark = pytest.mark.numeric


def clusters(rows, spread, seed=0):
    """Features of three classes around the corners of a triangle, and their labels."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    corners = np.array([[0, 0, 1], [4, 0, 1], [0, 4, 1]])[labels]
    return (corners + spread * generator.normal(size=(rows, 3))).astype(np.float32), labels


def test_separable_classes_are_split_as_logistic_regression_splits_them():
    features, labels = clusters(90, 0.3)
    tried, truth = clusters(60, 0.3, seed=1)
    probe = fit_probe(features, labels, 3, CPU)
    ours = (probe.inputs(tried) @ probe.weights.T).argmax(axis=1)
    standard = (features - probe.mean) / probe.deviation
    theirs = LogisticRegression(C=np.inf, max_iter=1000).fit(standard, labels)
    assert np.array_equal(ours, theirs.predict((tried - probe.mean) / probe.deviation))
    assert np.array_equal(ours, truth)


def test_a_well_chosen_rate_reaches_the_closed_fit():
    """Where classes overlap the optimum is finite: probabilities agree with a second-order solver's."""
    features, labels = clusters(400, 2.0)
    inputs = torch.from_numpy((features - features.mean(axis=0)) / features.std(axis=0))
    head = train_heads(inputs, torch.from_numpy(labels), 3, (0.3,))[0].double().numpy()
    logits = np.pad(inputs.numpy(), ((0, 0), (0, 1)), constant_values=1) @ head.T
    ours = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    theirs = LogisticRegression(C=np.inf, max_iter=1000).fit(inputs.numpy(), labels).predict_proba(inputs.numpy())
    np.testing.assert_allclose(ours, theirs, atol=0.01)


def test_heads_trained_together_are_those_trained_alone():
    features, labels = clusters(60, 1.0)
    inputs, targets = torch.from_numpy(features), torch.from_numpy(labels)
    together = train_heads(inputs, targets, 3, (0.01, 0.1))
    for place, rate in enumerate((0.01, 0.1)):
        torch.testing.assert_close(together[place], train_heads(inputs, targets, 3, (rate,))[0], atol=1e-5, rtol=1e-4)


def test_the_gradient_is_autograds():
    generator = torch.Generator().manual_seed(0)
    heads = torch.randn(2, 3, 5, generator=generator, requires_grad=True)
    inputs, targets = torch.randn(7, 4, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    logits = torch.einsum("bw,rcw->rbc", torch.nn.functional.pad(inputs, (0, 1), value=1.0), heads)
    torch.stack([torch.nn.functional.cross_entropy(each, targets) for each in logits]).sum().backward()
    torch.testing.assert_close(linear_probe._gradient(heads.detach(), inputs, targets), heads.grad)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=400))
def test_every_class_lends_a_hundredth_and_keeps_a_row(labels):
    labels = np.array(labels)
    is_held = held_out(labels)
    for class_ in np.unique(labels):
        own = is_held[labels == class_]
        assert own.sum() == min(max(1, round(len(own) / 100)), len(own) - 1)


def test_the_best_rate_at_the_edge_of_the_grid_is_told(monkeypatch, tmp_path, learnable, model_folder, capfd):
    monkeypatch.setattr(linear_probe, "RATES", (0.0, 0.1))
    run(model_folder, learnable, str(tmp_path / "out"), EvaluateOptions(protocols=("linear_probe",)))
    said = capfd.readouterr().err
    assert "shades: linear probe: the best learning rate, 0.1, is at the edge of the grid 0 to 0.1" in said


def test_the_probe_learns_colours(tmp_path, learnable, model_folder):
    run(model_folder, learnable, str(tmp_path / "out"), EvaluateOptions(protocols=("linear_probe",)))
    (row,) = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    assert (row["key"], row["metrics"]["acc1"]) == ("shades.linear_probe", 1)
    assert row["metrics"]["learning_rate"] in linear_probe.RATES
    exported = json.loads(next((tmp_path / "out" / "clip_benchmark").glob("*.json")).read_text())
    assert (exported["dataset"], exported["task"], exported["metrics"]["lp_acc1"]) == ("wds/shades", "linear_probe", 1)
