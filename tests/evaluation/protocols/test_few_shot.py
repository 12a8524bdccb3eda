"""Ridge regression against scikit-learn's, the draw of the support set, and the protocol as a whole."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from clipsieve.evaluation.evaluate import run
from clipsieve.evaluation.protocols.few_shot import fit_ridge, support_rows
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import EvaluateOptions

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("rows", [40, 12], ids=["primal", "dual"])
def test_the_head_is_scikit_learns_ridge(rows):
    """Their bias is not regularised; ours, a feature of 100, hardly is: the scores agree but for that."""
    generator = np.random.default_rng(0)
    features, labels = generator.normal(3, 2, (rows, 16)).astype(np.float32), np.arange(rows) % 4
    tried = generator.normal(3, 2, (30, 16)).astype(np.float32)
    head = fit_ridge(features, labels, 4)
    whitened = [head.inputs(each) for each in (features, tried)]
    targets = 2.0 * np.eye(4)[labels] - 1
    exact = Ridge(alpha=1024, fit_intercept=False).fit(whitened[0], targets)
    np.testing.assert_allclose(whitened[1] @ head.weights, exact.predict(whitened[1]), atol=1e-9)
    free = Ridge(alpha=1024).fit(whitened[0][:, :-1], targets).predict(whitened[1][:, :-1])
    np.testing.assert_allclose(whitened[1] @ head.weights, free, atol=0.01)


def test_features_are_whitened_by_the_support_set_alone():
    features = np.array([[1.0, 7.0], [3.0, 7.0]], np.float32)
    head = fit_ridge(features, np.array([0, 1]), 2)
    np.testing.assert_allclose(head.inputs(features), [[-1, 0, 100], [1, 0, 100]], atol=1e-4)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 5))
def test_shots_are_of_their_class_and_fewer_are_a_prefix(labels, seed):
    labels = np.array(labels)
    many, few = (support_rows(labels, 5, shots, seed) for shots in (10, 3))
    assert np.array_equal(many[:, :3], few)
    for class_, rows in enumerate(many):
        drawn = rows[rows >= 0]
        assert len(set(drawn.tolist())) == len(drawn) == min(10, (labels == class_).sum())
        assert (labels[drawn] == class_).all()


def test_the_draw_is_big_visions():
    """As its source: one generator a seed, a permutation of each class's rows in order of class."""
    labels = np.array([0, 1, 0, 1, 2, 0, 2])
    generator = np.random.default_rng(1)
    theirs = [generator.permutation(np.where(labels == class_)[0])[:2] for class_ in range(3)]
    assert np.array_equal(support_rows(labels, 3, 2, 1), np.stack(theirs))


def test_a_few_images_of_each_colour_teach_it(tmp_path, learnable, model_folder):
    options = EvaluateOptions(protocols=("few_shot_5", "few_shot_10"), batch_size=4)
    run(model_folder, learnable, str(tmp_path / "out"), options)
    five, ten = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    assert (five["key"], five["task"], five["samples"]) == ("shades.few_shot_5", "few_shot_5", 12)
    assert five["metrics"]["acc1"] == 1 and five["metrics"]["acc1_seed_sd"] == 0
    assert five["train_digest"] != five["task_digest"] and ten["metrics"]["acc1"] == 1
    samples = pq.read_table(tmp_path / "out" / "samples" / "shades.few_shot_5.parquet")
    assert samples["seed"].to_pylist() == [0] * 12 + [1] * 12 + [2] * 12
    # the test images, and once for both protocols the training images that one of them draws
    assert len(list((tmp_path / "out" / "features").glob("*.pooled.npy"))) == 2


def test_only_what_is_drawn_is_embedded_unless_all_is(tmp_path, learnable, model_folder):
    cache = str(tmp_path / "cache")
    run(model_folder, learnable, str(tmp_path / "a"), EvaluateOptions(protocols=("few_shot_5",)), cache)
    sizes = sorted(len(np.load(path)) for path in (tmp_path / "cache").glob("*.pooled.npy"))
    assert sizes[0] == 12 and 30 <= sizes[1] <= 48
    both = EvaluateOptions(protocols=("few_shot_5", "linear_probe"))
    run(model_folder, learnable, str(tmp_path / "b"), both, str(tmp_path / "whole"))
    assert sorted(len(np.load(path)) for path in (tmp_path / "whole").glob("*.pooled.npy")) == [12, 48]
    first, _, second = [
        json.loads(line)["metrics"] for name in "ab" for line in (tmp_path / name / "results.jsonl").open()
    ]
    assert first["acc1"] == pytest.approx(second["acc1"])


def test_without_a_training_split_there_is_nothing_to_learn_from(tmp_path, noise_images, write_zero_shot, model_folder):
    write_zero_shot(tmp_path / "data" / "wds_any", noise_images(2), [0, 1], ("cat", "dog"))
    with pytest.raises(InputError, match="no task has a training split for few_shot_5"):
        run(model_folder, str(tmp_path / "data"), str(tmp_path / "out"), EvaluateOptions(protocols=("few_shot_5",)))


def test_splits_of_other_classes_are_refused(tmp_path, learnable, model_folder, command):
    (tmp_path / "data" / "shades" / "train" / "purple").mkdir()
    arguments = ["--protocols", "few_shot_5", "--out", tmp_path / "out"]
    ended = command("evaluate", "--model", model_folder, "--data", learnable, *arguments)
    assert ended.status == 1
    assert "shades: its training split is not of the same classes" in ended.err
