"""Equality with CLIP_benchmark 1.6.2: with its figures in ``clip_benchmark_golden.json`` (``python -m
benchmarks.peer_tasks`` writes them), and with the program itself where an environment variable names an interpreter
that has it."""

from __future__ import annotations

import json
import os
from importlib.resources import files as resources
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from benchmarks.peer_tasks import (
    PEER,
    PHRASES,
    REPEATS,
    TEMPLATES,
    WORDS,
    builtin_peer,
    run_peer,
    write_folder,
    write_tasks,
)
from clipsieve.evaluation.datasets.read import read_task
from clipsieve.evaluation.datasets.task import RetrievalTask
from clipsieve.evaluation.evaluate import run
from clipsieve.evaluation.features.cache import Features
from clipsieve.schemas.models import load_model
from clipsieve.schemas.options import EvaluateOptions

BUILTIN = str(resources("clipsieve.pipelines") / "builtin")
GOLDEN = Path(__file__).with_name("clip_benchmark_golden.json")
CUTOFFS = (1, 5, 10)
TIED = 1e-6
"""Similarities that differ by less tie: one picture's embeddings from two batches may differ in their last bits."""
NO_PEER = f"set {PEER} to an interpreter with clip-benchmark 1.6.2 and numpy 2.2.6"
LAB = os.environ.get("CLIPSIEVE_LAB_DATA")

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_tasks(folder)
    return folder


@pytest.fixture(scope="module")
def evaluated(data, tmp_path_factory):
    """The builtin reference evaluated on all tasks: its folder."""
    out = tmp_path_factory.mktemp("out")
    run(BUILTIN, str(data), str(out), EvaluateOptions())
    return out


@pytest.fixture
def features(evaluated):
    """The builtin reference's features, as the evaluation left them."""
    return Features(load_model(BUILTIN), "openclip", "own", str(evaluated / "features"))


def metrics_of(out):
    return {row["key"]: row["metrics"] for row in map(json.loads, (out / "results.jsonl").read_text().splitlines())}


def recall_as_clip_benchmark(scores, is_own, k):
    """Share of the rows of scores[Q, C] that have one of their own among the k highest."""
    top = np.argsort(-scores, axis=1)[:, :k]
    return np.take_along_axis(is_own, top, axis=1).any(axis=1).mean()


def recall_bounds(task, features):
    """Each recall@k as it is with ties going against the image or caption that asks, and with ties in its favour."""
    counts = [len(captions) for captions in task.captions]
    is_own = np.repeat(np.arange(len(counts)), counts) == np.arange(len(counts))[:, None]
    texts = features.texts([text for captions in task.captions for text in captions])
    scores = features.images(task).astype(np.float64) @ texts.astype(np.float64).T
    bounds = {}
    for k in CUTOFFS:
        worst, best = scores - TIED * is_own, scores + TIED * is_own
        bounds[f"text_retrieval_recall@{k}"] = [recall_as_clip_benchmark(each, is_own, k) for each in (worst, best)]
        bounds[f"image_retrieval_recall@{k}"] = [
            recall_as_clip_benchmark(each.T, is_own.T, k) for each in (worst, best)
        ]
    return bounds


def assert_within_ties(task, features, metrics, peers):
    """Ours and the peer's recalls both lie between those of the two orders of ties."""
    for name, (worst, best) in recall_bounds(task, features).items():
        assert worst <= metrics[name] <= best, name
        assert worst - 1e-6 <= peers[name] <= best + 1e-6, name  # the peer's are float32


def assert_within_one_sample(task, metrics, peers):
    """Every metric of the peer's differs by a sample at most: of near ties float noise may choose either."""
    captions = sum(map(len, task.captions)) if isinstance(task, RetrievalTask) else 0
    for name, value in peers.items():
        counted = captions if name.startswith("image_retrieval") else len(task.ids)
        if name == "mean_per_class_recall":
            counted = np.bincount(task.label_array()).nonzero()[0].size  # a class of one image has the most weight
        assert abs(metrics[name] - value) <= 1.01 / counted, name


@pytest.mark.parametrize("name", [WORDS, PHRASES])
def test_metrics_and_embeddings_equal_the_golden_ones(data, evaluated, features, name):
    content = json.loads(GOLDEN.read_text())
    golden, tolerance = content["figures"][name], content["tolerance"]
    task = read_task(str(data / f"wds_{name}"))
    assert len(task.ids) == golden["images"]
    assert_within_one_sample(task, metrics_of(evaluated)[name], golden["metrics"])
    np.testing.assert_allclose(features.images(task)[::50, :4], golden["every_50th_embedding"], atol=tolerance)


def test_without_ties_one_order_is_the_only_one(data, evaluated, features):
    task = read_task(str(data / f"wds_{PHRASES}"))
    metrics, peers = metrics_of(evaluated)[PHRASES], json.loads(GOLDEN.read_text())["figures"][PHRASES]["metrics"]
    for name, (worst, best) in recall_bounds(task, features).items():
        assert worst == best == metrics[name] == pytest.approx(peers[name], abs=1e-6), name


def test_where_candidates_tie_ours_and_the_golden_recalls_are_of_some_order_of_the_ties(data, evaluated, features):
    task = read_task(str(data / f"wds_{REPEATS}"))
    assert isinstance(task, RetrievalTask)
    figures = json.loads(GOLDEN.read_text())["figures"][REPEATS]
    assert len(task.ids) == figures["images"]
    assert_within_ties(task, features, metrics_of(evaluated)[REPEATS], figures["metrics"])
    widths = {name: best - worst for name, (worst, best) in recall_bounds(task, features).items()}
    assert widths["text_retrieval_recall@5"] > 1 / len(task.ids)  # captions that stand more than once
    assert widths["image_retrieval_recall@10"] > 1 / sum(map(len, task.captions))  # pictures that do


def test_the_golden_tasks_are_hard_enough_to_tell():
    figures = json.loads(GOLDEN.read_text())["figures"]
    assert 0.02 < figures[WORDS]["metrics"]["acc1"] < figures[WORDS]["metrics"]["acc5"] < 1
    recalls = [figures[PHRASES]["metrics"][f"text_retrieval_recall@{k}"] for k in CUTOFFS]
    assert recalls == sorted(set(recalls))


@pytest.mark.skipif(PEER not in os.environ, reason=NO_PEER)
@pytest.mark.parametrize("name", [WORDS, PHRASES, REPEATS])
def test_the_builtin_reference_equals_the_program(data, evaluated, features, name):
    task = read_task(str(data / f"wds_{name}"))
    peers, embeddings = builtin_peer(data / f"wds_{name}")
    if name == REPEATS:
        assert_within_ties(task, features, metrics_of(evaluated)[name], peers)
    else:
        assert_within_one_sample(task, metrics_of(evaluated)[name], peers)
    np.testing.assert_allclose(features.images(task), embeddings, atol=1e-4)


@pytest.fixture(scope="module")
def random_vit_b_32(tmp_path_factory):
    """The weights of a ViT-B-32 that has learnt nothing."""
    torch.manual_seed(0)
    weights = tmp_path_factory.mktemp("weights") / "random.safetensors"
    safetensors.torch.save_file(open_clip.create_model("ViT-B-32").state_dict(), weights)
    return weights


def assert_vit_b_32_equals_the_program(data, weights, name, out, features_of):
    spec = f"open_clip:ViT-B-32@{weights}"
    features = features_of(load_model(spec))
    run(spec, str(data), str(out), EvaluateOptions(tasks=(name,)), features.cache)
    task = read_task(str(data / f"wds_{name}"))
    peers, embeddings = run_peer(data / f"wds_{name}", "ViT-B-32", str(weights))
    if isinstance(task, RetrievalTask):  # weights that have learnt nothing find many images and captions all but equal
        assert_within_ties(task, features, metrics_of(out)[name], peers)
    else:
        assert_within_one_sample(task, metrics_of(out)[name], peers)
    np.testing.assert_allclose(features.images(task), embeddings, atol=1e-4)


@pytest.mark.skipif(PEER not in os.environ, reason=NO_PEER)
@pytest.mark.parametrize("name", [WORDS, PHRASES])
def test_a_random_vit_b_32_equals_the_program(random_vit_b_32, name, tmp_path, features_of):
    write_tasks(tmp_path / "data", most=100)
    assert_vit_b_32_equals_the_program(tmp_path / "data", random_vit_b_32, name, tmp_path / "out", features_of)


@pytest.fixture
def cifar10(tmp_path):
    """A data folder with every fiftieth image of CIFAR-10's test split, as ``wds_cifar10_part``."""
    rows = pq.read_table(Path(str(LAB)) / "cifar10-test.parquet").to_pylist()[::50]
    names = {row["label"]: row["name"] for row in rows}
    samples = [(row["image"], {"cls": str(row["label"])}) for row in rows]
    texts = {"classnames": [names[label] for label in sorted(names)], "zeroshot_classification_templates": TEMPLATES}
    write_folder(tmp_path / "data" / "wds_cifar10_part", samples, texts)
    return tmp_path / "data"


@pytest.mark.skipif(PEER not in os.environ, reason=NO_PEER)
@pytest.mark.skipif(LAB is None, reason="set CLIPSIEVE_LAB_DATA to the folder with cifar10-test.parquet")
def test_both_models_equal_the_program_on_cifar10(cifar10, random_vit_b_32, tmp_path, features_of):
    assert_vit_b_32_equals_the_program(cifar10, random_vit_b_32, "cifar10_part", tmp_path / "out", features_of)
    run(BUILTIN, str(cifar10), str(tmp_path / "builtin"), EvaluateOptions())
    peers, _ = builtin_peer(cifar10 / "wds_cifar10_part")
    task = read_task(str(cifar10 / "wds_cifar10_part"))
    assert_within_one_sample(task, metrics_of(tmp_path / "builtin")["cifar10_part"], peers)
