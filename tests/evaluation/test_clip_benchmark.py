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

from benchmarks.peer_tasks import PEER, PHRASES, TEMPLATES, WORDS, builtin_peer, run_peer, write_folder, write_tasks
from evaluation.datasets import read_task
from evaluation.evaluate import run
from evaluation.task import RetrievalTask
from schemas.models import load_model
from schemas.recipe import EvaluateOptions

BUILTIN = str(resources("pipelines") / "builtin")
GOLDEN = Path(__file__).with_name("clip_benchmark_golden.json")
NO_PEER = f"set {PEER} to an interpreter with clip-benchmark 1.6.2 and numpy 2.2.6"
LAB = os.environ.get("CLIPSIEVE_LAB_DATA")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_tasks(folder)
    return folder


@pytest.fixture(scope="module")
def evaluated(data, tmp_path_factory):
    """The builtin reference evaluated on both tasks: its folder."""
    out = tmp_path_factory.mktemp("out")
    run(BUILTIN, str(data), str(out), EvaluateOptions())
    return out


def metrics_of(out):
    return {row["key"]: row["metrics"] for row in map(json.loads, (out / "results.jsonl").read_text().splitlines())}


def assert_within_one_sample(task, metrics, peers):
    """Every metric of the peer's differs by a sample at most: of near ties float noise may choose either."""
    captions = sum(map(len, task.captions)) if isinstance(task, RetrievalTask) else 0
    for name, value in peers.items():
        counted = captions if name.startswith("image_retrieval") else len(task.ids)
        if name == "mean_per_class_recall":
            counted = np.bincount(task.label_array()).nonzero()[0].size  # a class of one image has the most weight
        assert abs(metrics[name] - value) <= 1.01 / counted, name


@pytest.mark.parametrize("name", [WORDS, PHRASES])
def test_metrics_and_embeddings_equal_the_golden_ones(data, evaluated, features_of, name):
    golden = json.loads(GOLDEN.read_text())["figures"][name]
    task = read_task(str(data / f"wds_{name}"))
    assert len(task.ids) == golden["images"]
    assert_within_one_sample(task, metrics_of(evaluated)[name], golden["metrics"])
    images = features_of(load_model(BUILTIN)).images(task)
    np.testing.assert_allclose(images[::50, :4], golden["every_50th_embedding"], atol=1e-4)


def test_the_golden_tasks_are_hard_enough_to_tell():
    figures = json.loads(GOLDEN.read_text())["figures"]
    assert 0.02 < figures[WORDS]["metrics"]["acc1"] < figures[WORDS]["metrics"]["acc5"] < 1
    recalls = [figures[PHRASES]["metrics"][f"text_retrieval_recall@{k}"] for k in (1, 5, 10)]
    assert recalls == sorted(set(recalls))


@pytest.mark.skipif(PEER not in os.environ, reason=NO_PEER)
@pytest.mark.parametrize("name", [WORDS, PHRASES])
def test_the_builtin_reference_equals_the_program(data, evaluated, features_of, name):
    task = read_task(str(data / f"wds_{name}"))
    peers, embeddings = builtin_peer(data / f"wds_{name}")
    assert_within_one_sample(task, metrics_of(evaluated)[name], peers)
    np.testing.assert_allclose(features_of(load_model(BUILTIN)).images(task), embeddings, atol=1e-4)


@pytest.mark.skipif(PEER not in os.environ, reason=NO_PEER)
@pytest.mark.skipif(LAB is None, reason="set CLIPSIEVE_LAB_DATA to the folder with cifar10-test.parquet")
def test_a_random_vit_b_32_equals_the_program_on_cifar10(tmp_path, features_of):
    torch.manual_seed(0)
    weights = tmp_path / "random.safetensors"
    safetensors.torch.save_file(open_clip.create_model("ViT-B-32").state_dict(), weights)
    rows = pq.read_table(Path(str(LAB)) / "cifar10-test.parquet").to_pylist()[::50]
    names = {row["label"]: row["name"] for row in rows}
    samples = [(row["image"], {"cls": str(row["label"])}) for row in rows]
    texts = {"classnames": [names[label] for label in sorted(names)], "zeroshot_classification_templates": TEMPLATES}
    folder = tmp_path / "data" / "wds_cifar10_part"
    write_folder(folder, samples, texts)
    spec = f"open_clip:ViT-B-32@{weights}"
    run(spec, str(tmp_path / "data"), str(tmp_path / "out"), EvaluateOptions(), str(tmp_path / "cache4"))
    peers, embeddings = run_peer(folder, "ViT-B-32", str(weights))
    task = read_task(str(folder))
    assert_within_one_sample(task, metrics_of(tmp_path / "out")["cifar10_part"], peers)
    np.testing.assert_allclose(features_of(load_model(spec)).images(task), embeddings, atol=1e-4)
