"""What an evaluation shows of its mistakes, against cases by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.evaluation.datasets.read import read_task
from clipsieve.evaluation.datasets.task import ClassificationTask, RetrievalTask
from clipsieve.evaluation.evaluate import run
from clipsieve.evaluation.mistakes.classes import class_accuracies, confusion
from clipsieve.evaluation.mistakes.examples import look_at_classes, look_at_retrieval
from clipsieve.evaluation.mistakes.page import write_page
from clipsieve.schemas.options import EvaluateOptions


def test_classes_are_told_the_worst_first_with_what_they_are_taken_for():
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    predictions = np.array([1, 1, 2, 0, 1, 1, 0])
    found = class_accuracies(labels, predictions)
    assert [(each.class_, each.samples, each.accuracy) for each in found] == [(2, 1, 0), (0, 4, 0.25), (1, 2, 1)]
    assert found[1].confusions == ((1, 2), (2, 1))
    assert confusion(labels, predictions, [2, 0]).tolist() == [[0, 1, 0], [1, 1, 2]]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=50))
def test_every_sample_of_the_classes_shown_is_counted_once(pairs):
    labels, predictions = np.array(pairs).T
    found = class_accuracies(labels, predictions)
    assert sum(each.samples for each in found) == len(pairs)
    assert confusion(labels, predictions, [each.class_ for each in found]).sum() == len(pairs)
    assert [each.accuracy for each in found] == sorted(each.accuracy for each in found)


def test_the_most_confident_mistake_comes_first(tmp_path, colour_image, write_zero_shot, colour_model, features_of):
    """Yellow is red and green: an image of it called blue is a wider miss than a red one called yellow."""
    names = ("red", "green", "blue", "yellow")
    images = [colour_image(name) for name in ("red", "red", "yellow", "green")]
    folder = write_zero_shot(tmp_path / "wds_any", images, [0, 3, 2, 1], names, ("{c}",))
    task = read_task(str(folder))
    assert isinstance(task, ClassificationTask)
    found = look_at_classes(task, features_of(colour_model), worst=2)
    assert [(mistake.row, mistake.label, mistake.prediction) for mistake in found.mistakes] == [(2, 2, 3), (1, 3, 0)]
    assert [mistake.margin for mistake in found.mistakes] == pytest.approx([1, 1 - np.sqrt(0.5)])
    assert (found.wrong, found.samples) == (2, 4)


def test_retrievals_are_told_right_and_wrong(tmp_path, colour_image, write_retrieval, colour_model, features_of):
    images = [colour_image(name) for name in ("red", "green", "blue")]
    folder = write_retrieval(tmp_path / "wds_any", images, [["red", "blue"], ["yellow"], ["green"]])
    task = read_task(str(folder))
    assert isinstance(task, RetrievalTask)
    right, wrong = look_at_retrieval(task, features_of(colour_model))
    assert [(each.row, each.own, each.own_rank) for each in right] == [(0, "red", 0)]
    assert right[0].margin == pytest.approx(1 - np.sqrt(0.5))
    assert [(each.row, each.own, each.other, each.own_rank) for each in wrong] == [
        (2, "green", "blue", 3),
        (1, "yellow", "green", 1),
    ]


def test_an_evaluation_leaves_a_page_that_stands_alone(
    tmp_path, model_folder, learnable, noise_images, write_retrieval, random_model, features_of
):
    hostile = "<script>alert(1)</script>"
    write_retrieval(tmp_path / "data" / "wds_drawn", noise_images(4), [[hostile, "two"], ["three"], ["four"], ["five"]])
    run(model_folder, learnable, str(tmp_path / "out"), EvaluateOptions(protocols=("zeroshot", "retrieval")))
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert {"The most confident mistakes", "Confusion of the worst classes", "Found", "Not found"} <= set(
        re.findall("The most confident mistakes|Confusion of the worst classes|Not found|Found", page)
    )
    assert hostile not in page and "<script" not in page
    assert all(source.startswith("data:image/webp;base64,") for source in re.findall('src="([^"]*)"', page))
    assert all(re.findall('<img [^>]*alt="([^"]*)"', page))
    run(model_folder, learnable, str(tmp_path / "again"), EvaluateOptions(protocols=("zeroshot", "retrieval")))
    assert (tmp_path / "again" / "report" / "index.html").read_text() == page


def test_without_mistakes_the_page_says_so(tmp_path, colour_image, write_zero_shot, colour_model, features_of):
    folder = write_zero_shot(tmp_path / "wds_any", [colour_image("red")], [0], ("red", "blue"), ("{c}",))
    task = read_task(str(folder))
    row = {"key": "any", "dataset": "any", "samples": 1, "metrics": {"acc1": 1.0}, "intervals": {}}
    write_page(str(tmp_path / "out"), "model", [task], features_of(colour_model), [row])
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "0 of 1 images are given a wrong class." in page and '<p class="note">None.</p>' in page
