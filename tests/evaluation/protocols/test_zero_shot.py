from __future__ import annotations

from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch

from clipsieve.evaluation.datasets.read import read_task
from clipsieve.evaluation.datasets.task import ClassificationTask
from clipsieve.evaluation.protocols.classification import classification_metrics, classify
from clipsieve.evaluation.protocols.prompts import class_prompts
from clipsieve.evaluation.protocols.zero_shot import evaluate
from clipsieve.schemas.tables import check_columns
from clipsieve.schemas.task_tables import ZERO_SHOT_SAMPLES

NAMES = ("cat", "dog", "missile", "house", "missile", "tree")
LABELS = [0, 1, 2, 3, 4, 5, 0, 1]


@pytest.fixture
def task(tmp_path, noise_images, write_zero_shot):
    return read_task(str(write_zero_shot(tmp_path / "wds_any", noise_images(8), LABELS, NAMES)))


def test_metrics_by_hand():
    labels, ranks = np.array([0, 0, 0, 1, 3]), np.array([0, 0, 1, 0, 5])
    assert classification_metrics(labels, ranks, 6) == {
        "acc1": 3 / 5,
        "acc5": 4 / 5,
        "mean_per_class_recall": pytest.approx((2 / 3 + 1 + 0) / 3),  # class 2 has no sample
    }


@pytest.mark.parametrize(("classes", "is_null"), [(4, True), (5, False)])
def test_acc5_is_null_below_five_classes(classes, is_null):
    metrics = classification_metrics(np.array([0, 1]), np.array([0, 3]), classes)
    assert (metrics["acc5"] is None) == is_null


def test_equal_classes_go_to_the_lower_index():
    images = np.array([[1, 0], [1, 0]], np.float32)
    classes = np.array([[0, 1], [1, 0], [1, 0]], np.float32)
    _, predictions, ranks = classify(images, classes, np.arange(3), [(1,), (2,)])
    assert predictions.tolist() == [1, 1]
    assert ranks.tolist() == [0, 1]


def test_of_several_right_classes_the_best_ranked_counts():
    images, classes = np.eye(3, dtype=np.float32)[[0, 1]], np.eye(3, dtype=np.float32)
    labels, predictions, ranks = classify(images, classes, np.arange(3), [(2, 0), (0, 2)])
    assert labels.tolist() == [0, 0]
    assert predictions.tolist() == [0, 1]
    assert ranks.tolist() == [0, 1]


def test_a_class_of_several_names_scores_by_its_best():
    images = np.array([[0.6, 0.8], [0.8, 0.6]], np.float32)
    names = np.array([[1, 0], [0, 1], [0.7, 0.7]], np.float32)  # the first two are class 0
    labels, predictions, ranks = classify(images, names, np.array([0, 0, 1]), [(0,), (1,)])
    assert (labels.tolist(), predictions.tolist(), ranks.tolist()) == ([0, 1], [1, 1], [1, 0])


def test_images_without_a_right_class_are_left_out(tmp_path, random_model, noise_images, write_zero_shot, features_of):
    folder = write_zero_shot(tmp_path / "wds_any", noise_images(3), [0, 1, 2], NAMES)
    whole = read_task(str(folder))
    assert isinstance(whole, ClassificationTask)
    real = replace(whole, labels=((0, 1), (), (2, 3)))
    outcome = evaluate(real, features_of(random_model))
    _, samples = outcome.tables[""]
    assert samples["id"].to_pylist() == ["s0000000", "s0000002"]
    assert outcome.samples == 2
    assert outcome.metrics["mean_per_class_recall"] is None
    _, before = evaluate(whole, features_of(random_model)).tables[""]
    best = [int(p) in own for p, own in zip(before["prediction"].to_pylist(), ((0, 1), (), (2, 3)), strict=True)]
    assert samples["correct"].to_pylist() == [best[0], best[2]]


def test_classifier_equals_open_clip(random_model, task, features_of):
    templates = [lambda name, t=t: t.replace("{c}", name) for t in task.templates]
    expected = open_clip.build_zero_shot_classifier(random_model.model, random_model.tokenizer, NAMES, templates)
    embedded = features_of(random_model, 5).classes(class_prompts(task, "own", "openclip"))
    np.testing.assert_allclose(embedded, expected.T.numpy(), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_evaluation_equals_open_clip_at_every_batch_size(random_model, task, batch_size, features_of):
    features = features_of(random_model, batch_size)
    images, outcome = features.images(task), evaluate(task, features)
    templates = [lambda name, t=t: t.replace("{c}", name) for t in task.templates]
    classifier = open_clip.build_zero_shot_classifier(random_model.model, random_model.tokenizer, NAMES, templates)
    logits = torch.from_numpy(images) @ classifier
    top = logits.topk(5, dim=1).indices == torch.tensor(LABELS)[:, None]
    # "missile" is two classes of equal prompts: which of the two topk names first is open
    open_ties = sum(label in (2, 4) for label in LABELS) / len(LABELS)
    assert abs(outcome.metrics["acc1"] - top[:, 0].float().mean().item()) <= open_ties
    assert outcome.metrics["acc5"] == pytest.approx(top.any(dim=1).float().mean().item(), abs=open_ties)
    _, samples = outcome.tables[""]
    check_columns(samples.schema, ZERO_SHOT_SAMPLES, "samples")
    assert samples["correct"].to_pylist() == [rank == 0 for rank in samples["rank"].to_pylist()]
    assert outcome.metrics["acc1"] == np.mean(samples["correct"].to_pylist())


def test_a_model_of_colours_names_colours(tmp_path, colour_model, colour_image, write_zero_shot, features_of):
    names = ["red", "green", "blue", "yellow"]
    images = [colour_image(name) for name in ("blue", "red", "yellow", "green", "red")]
    labels = [2, 0, 3, 1, 1]
    task = read_task(str(write_zero_shot(tmp_path / "wds_colours", images, labels, names)))
    assert isinstance(task, ClassificationTask)
    outcome = evaluate(task, features_of(colour_model, 2))
    assert outcome.metrics["acc1"] == 4 / 5
    assert outcome.metrics["mean_per_class_recall"] == (1 + 1 / 2 + 1 + 1) / 4
    assert outcome.tables[""][1]["prediction"].to_pylist() == [2, 0, 3, 1, 0]
    assert outcome.tables[""][1]["rank"].to_pylist() == [0, 0, 0, 0, 2]  # yellow, then green
    assert "acc5" not in outcome.intervals
