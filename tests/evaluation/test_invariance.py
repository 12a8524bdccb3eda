"""What a result may not depend on, of every kind of task: the size of batches, the number of workers, the ranks."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from clipsieve.evaluation.evaluate import run
from clipsieve.schemas.options import EvaluateOptions
from tests.commands import torchrun

PROTOCOLS = ("zeroshot", "retrieval", "linear_probe", "few_shot_5")
KEYS = ("drawn", "shades", "shades.linear_probe", "shades.few_shot_5")


@pytest.fixture
def data(tmp_path, learnable, noise_images, write_retrieval):
    """A data folder of a task to classify and learn, and one to retrieve."""
    captions = [[f"a drawing of {row}", f"number {row}"][: 1 + row % 2] for row in range(13)]
    write_retrieval(tmp_path / "data" / "wds_drawn", noise_images(13), captions)
    return learnable


@pytest.fixture
def one(tmp_path, model_folder, data):
    """The evaluation in batches of 4 by this process, in as many threads as there are cores."""
    run(model_folder, data, str(tmp_path / "one"), EvaluateOptions(protocols=PROTOCOLS, batch_size=4))
    return tmp_path / "one"


def results_of(out):
    return {row["key"]: row for row in map(json.loads, (out / "results.jsonl").read_text().splitlines())}


def assert_alike(out, other):
    """Equal results and equal outcomes of every sample, from features that float noise alone tells apart."""
    assert tuple(results_of(out)) == KEYS
    assert results_of(out) == results_of(other)
    samples = sorted(path.name for path in (out / "samples").iterdir())
    assert len(samples) == 5
    for name in samples:
        assert pq.read_table(out / "samples" / name) == pq.read_table(other / "samples" / name), name
    features = sorted(path.name for path in (out / "features").iterdir())
    assert features == sorted(path.name for path in (other / "features").iterdir()) and len(features) == 6
    for name in features:
        ours, theirs = (np.load(folder / "features" / name) for folder in (out, other))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("size", [1, 64])
def test_the_size_of_batches(tmp_path, model_folder, data, one, size):
    run(model_folder, data, str(tmp_path / "other"), EvaluateOptions(protocols=PROTOCOLS, batch_size=size))
    assert_alike(one, tmp_path / "other")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine lends one core: there is one worker anyway")
def test_the_number_of_workers(tmp_path, model_folder, data, one):
    """As many threads decode as there are cores: here it is one."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        run(model_folder, data, str(tmp_path / "other"), EvaluateOptions(protocols=PROTOCOLS, batch_size=4))
    finally:
        os.sched_setaffinity(0, cores)
    assert_alike(one, tmp_path / "other")


def evaluate_in_two_processes(out, model, data):
    """The command in two processes, as torchrun starts them."""
    paths = ["--model", model, "--data", data, "--out", out]
    command = [*torchrun(2), "evaluate", *paths, "--batch-size", "4", "--protocols", ",".join(PROTOCOLS)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_the_number_of_ranks(tmp_path, model_folder, data, one, noise_images, write_zero_shot):
    """With a task that fails on the second rank alone, on which both pass over it."""
    images = [*noise_images(3), b"no image"]
    write_zero_shot(Path(data) / "wds_undecodable", images, [0, 1, 0, 1], ("cat", "dog"))
    done = evaluate_in_two_processes(str(tmp_path / "other"), model_folder, data)
    assert done.returncode == 1, done.stderr
    assert "undecodable: failed: " in done.stderr and "sample s0000003: the image cannot be decoded" in done.stderr
    assert "1 of 3 tasks failed (undecodable)" in done.stderr
    assert_alike(one, tmp_path / "other")
