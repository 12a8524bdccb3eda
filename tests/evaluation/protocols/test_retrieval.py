from __future__ import annotations

import numpy as np
import pytest

from clipsieve.evaluation.datasets.read import read_task
from clipsieve.evaluation.datasets.task import RetrievalTask
from clipsieve.evaluation.protocols.retrieval import best_own_ranks, evaluate, own_ranks, retrieval_metrics
from clipsieve.schemas.tables import check_columns
from clipsieve.schemas.task_tables import RETRIEVAL_IMAGES, RETRIEVAL_TEXTS


def recall_as_clip_benchmark(scores, is_own, k):
    """Share of rows that have a positive among the k highest scores."""
    top = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(is_own, top, axis=1).any(axis=1).mean()


@pytest.mark.parametrize("seed", range(5))
def test_recalls_equal_brute_force(seed):
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(40), generator.integers(1, 6, 40))
    images = generator.normal(size=(40, 8)).astype(np.float32)
    texts = (images[owner] + 2 * generator.normal(size=(len(owner), 8))).astype(np.float32)
    metrics = retrieval_metrics(best_own_ranks(images, texts, owner), own_ranks(images, texts, owner))
    scores, is_own = texts @ images.T, owner[:, None] == np.arange(40)
    for k in (1, 5, 10):
        assert metrics[f"image_retrieval_recall@{k}"] == recall_as_clip_benchmark(scores, is_own, k)
        assert metrics[f"text_retrieval_recall@{k}"] == recall_as_clip_benchmark(scores.T, is_own.T, k)
    assert 0 < metrics["image_retrieval_recall@1"] < metrics["image_retrieval_recall@5"] < 1


def test_two_images_that_share_a_caption(tmp_path, colour_model, colour_image, write_retrieval, features_of):
    images = [colour_image(name) for name in ("red", "red", "blue")]
    captions = [["red"], ["red", "blue"], ["blue", "green"]]
    task = read_task(str(write_retrieval(tmp_path / "wds_colours", images, captions)))
    assert isinstance(task, RetrievalTask)
    outcome = evaluate(task, features_of(colour_model, 2))
    _, by_image = outcome.tables[".images"]
    _, by_text = outcome.tables[".texts"]
    check_columns(by_image.schema, RETRIEVAL_IMAGES, "images")
    check_columns(by_text.schema, RETRIEVAL_TEXTS, "texts")
    # captions in order: red (of 0), red (of 1), blue (of 1), blue (of 2), green (of 2); equal ones tie
    assert by_image["rank"].to_pylist() == [0, 1, 1]
    assert by_text["id"].to_pylist() == [f"s000000{row}" for row in (0, 1, 1, 2, 2)]
    assert by_text["caption_index"].to_pylist() == [0, 0, 1, 0, 1]
    assert by_text["rank"].to_pylist() == [0, 1, 2, 0, 2]
    assert outcome.metrics["text_retrieval_recall@1"] == 1 / 3
    assert outcome.metrics["image_retrieval_recall@1"] == 2 / 5
    assert outcome.metrics["mean_recall@1"] == pytest.approx((1 / 3 + 2 / 5) / 2)
    assert outcome.metrics["image_retrieval_recall@5"] == 1
    assert (outcome.samples, set(outcome.intervals)) == (3, set(outcome.metrics))


def test_a_model_blind_to_everything_is_at_chance():
    images, owner = np.ones((10, 1), np.float32), np.repeat(np.arange(10), 2)
    texts = np.ones((20, 1), np.float32)
    assert best_own_ranks(images, texts, owner).tolist() == list(range(0, 20, 2))
    assert own_ranks(images, texts, owner).tolist() == owner.tolist()
