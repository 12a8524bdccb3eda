"""One process, two and four come to the same weights, with micro-batches and without."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.training.processes import ACCUMULATES, STRATEGIES, file_of, worlds_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tower_file, tmp_path_factory):
    """The folder in which every run has left its weights."""
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-m", "tests.training.processes", str(folder), tower_file]
    job = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert job.returncode == 0, job.stderr
    return folder


RUNS = [(name, world, parts) for name in STRATEGIES for world in worlds_of(name) for parts in ACCUMULATES]


def of_one_and_of(trained, what, name, world, accumulate):
    """What one process came to, and these, by parameter."""
    runs = (1, 1), (world, accumulate)
    one, other = (safetensors.torch.load_file(file_of(trained, what, name, *run)) for run in runs)
    assert one.keys() == other.keys()
    for key in [key for key in one if key.endswith("in_proj_bias")]:
        # Attention does not depend on the keys' bias: its gradient is nothing but rounding.
        one[key], other[key] = (torch.cat(each[key].chunk(3)[::2]) for each in (one, other))
    return one, other


@pytest.mark.parametrize("name, world, accumulate", RUNS)
def test_processes_and_micro_batches_do_not_change_the_gradients(trained, name, world, accumulate):
    """To 1e-6 of the whole gradient, and 5e-6 of each parameter's, on any captions: sums are in another order."""
    one, other = of_one_and_of(trained, "gradients", name, world, accumulate)
    differences = {key: float((other[key] - one[key]).norm()) for key in one}
    norms = {key: float(one[key].norm()) for key in one}
    assert math.hypot(*differences.values()) < 1e-6 * math.hypot(*norms.values())
    assert all(differences[key] < 5e-6 * norms[key] for key in one), differences


@pytest.mark.parametrize("name, world, accumulate", RUNS)
def test_processes_and_micro_batches_do_not_change_the_weights(trained, name, world, accumulate):
    """To 1e-5 after five steps, where every word stands in several captions, as in a real batch.

    A step of AdamW is the gradient over its own size, in the first steps about its sign: an element of which nothing
    but rounding is left, as some of a word's that stands once have, may move by the learning rate either way. So the
    weights can be held to 1e-5 only where no such elements are; the gradients everywhere.
    """
    one, other = of_one_and_of(trained, "weights", name, world, accumulate)
    for key, tensor in one.items():
        torch.testing.assert_close(other[key], tensor, atol=1e-5, rtol=0, msg=key)
