"""Mean average precision against scikit-learn's, and as CLIP_benchmark's own loop computes it."""

from __future__ import annotations

import io
import json

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

from clipsieve.evaluation.compare.run import compare
from clipsieve.evaluation.evaluate import run
from clipsieve.evaluation.protocols.multilabel import class_orders, mean_average_precision, read_ranking
from clipsieve.schemas.models import save_model
from clipsieve.schemas.options import EvaluateOptions
from tests.evaluation.conftest import MODEL_CFG, PREPROCESS_CFG


def benchmark_precision(scores, targets):
    """CLIP_benchmark's average_precision_per_class (after torchnet's meter)."""
    found = torch.zeros(scores.size(1))
    ranks = torch.arange(1, scores.size(0) + 1).float()
    for k in range(scores.size(1)):
        truth = targets[:, k][torch.sort(scores[:, k], 0, True)[1]]
        precision = truth.float().cumsum(0).div(ranks)
        found[k] = precision[truth.bool()].sum() / max(float(truth.sum()), 1)
    return float(found.mean())


@given(st.integers(2, 20), st.integers(1, 4), st.data())
def test_it_is_scikit_learns_where_nothing_ties(images, classes, data):
    is_of = data.draw(arrays(bool, (images, classes)))
    scores = np.random.default_rng(images).permutation(images * classes).reshape(images, classes).astype(float)
    ours = mean_average_precision(is_of, class_orders(scores), np.ones(images))
    assert ours == pytest.approx(benchmark_precision(torch.from_numpy(scores), torch.from_numpy(is_of)), abs=1e-6)
    if is_of.any(axis=0).all():
        assert ours == pytest.approx(average_precision_score(is_of, scores))


def test_an_image_drawn_twice_counts_twice():
    generator = np.random.default_rng(0)
    is_of, scores = generator.random((8, 3)) < 0.4, generator.random((8, 3))
    counts = generator.integers(0, 3, 8)
    weighted = mean_average_precision(is_of, class_orders(scores), counts)
    assert weighted == pytest.approx(_weighted_by_hand(is_of, scores, counts))
    assert mean_average_precision(is_of, class_orders(scores), np.ones(8)) != pytest.approx(weighted)


def _weighted_by_hand(is_of, scores, counts):
    """scikit-learn's, whose weights take copies at one score as one threshold, as ours do."""
    return np.mean(
        [
            average_precision_score(own, column, sample_weight=counts) if (own * counts).any() else 0
            for own, column in zip(is_of.T, scores.T, strict=True)
        ]
    )


def save_model_of_other_weights(folder):
    torch.manual_seed(1)
    save_model(str(folder), open_clip.CLIP(**MODEL_CFG), MODEL_CFG, PREPROCESS_CFG)


def test_a_folder_of_vectors_is_evaluated_and_compared(tmp_path, noise_images, write_task, model_folder):
    generator = np.random.default_rng(0)
    is_of = generator.random((12, 3)) < 0.5
    is_of[0] = True
    samples = []
    for row, image in enumerate(noise_images(12)):
        stream = io.BytesIO()
        np.save(stream, is_of[row].astype(np.float32))
        samples.append((f"s{row:07d}", {"png": image, "npy": stream.getvalue()}))
    texts = {"classnames": "cat\ndog\ntree\n", "zeroshot_classification_templates": "a {c}\n"}
    write_task(tmp_path / "data" / "wds_many", samples, dataset_type="multilabel\n", **texts)
    run(model_folder, str(tmp_path / "data"), str(tmp_path / "out"), EvaluateOptions())
    (row,) = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    value, (low, high) = (row[kind]["mean_average_precision"] for kind in ("metrics", "intervals"))
    assert row["metrics"]["main_metric"] == value and low < value < high
    ranking = read_ranking(str(tmp_path / "out" / "samples"), "many")
    assert np.array_equal(ranking.is_of, is_of)
    assert mean_average_precision(ranking.is_of, ranking.order, np.ones(12)) == value
    save_model_of_other_weights(tmp_path / "model")
    run(str(tmp_path / "model"), str(tmp_path / "data"), str(tmp_path / "other"), EvaluateOptions())
    first, second = compare([str(tmp_path / "out"), str(tmp_path / "other")]).lines
    assert second.difference
    assert second.difference.value == pytest.approx(second.value - first.value)
    assert second.difference.low <= second.difference.value <= second.difference.high
