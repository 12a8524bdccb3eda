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

pytestmark = pytest.mark.numeric


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
    assert {tensor.dtype for tensor in one.values()} == {torch.float64}
    return one, other


@pytest.mark.parametrize("name, world, accumulate", RUNS)
def test_processes_and_micro_batches_do_not_change_the_gradients(trained, name, world, accumulate):
    """Each parameter's to 1e-13 of the norm of all: sums are in another order, which float64 rounds to 1e-16."""
    one, other = of_one_and_of(trained, "gradients", name, world, accumulate)
    whole = math.hypot(*(float(gradient.norm()) for gradient in one.values()))
    differences = {key: float((other[key] - one[key]).norm()) for key in one}
    assert max(differences.values()) < 1e-13 * whole, differences


@pytest.mark.parametrize("name, world, accumulate", RUNS)
def test_processes_and_micro_batches_do_not_change_the_weights(trained, name, world, accumulate):
    """To 1e-10 after five steps.

    A step of AdamW is the gradient over its own size: an element of which nothing but rounding is left would move by
    the learning rate either way. In float64 that rest is some 1e-17, and AdamW adds its eps of 1e-8 to the size, so
    that no rounding moves a weight by more than some 1e-12; in float32 the rest is as large as the eps.
    """
    one, other = of_one_and_of(trained, "weights", name, world, accumulate)
    for key, tensor in one.items():
        if key.endswith("in_proj_bias"):
            # Attention does not depend on the keys' bias: its gradient is rounding alone, and Adafactor's eps is 1e-30.
            tensor, other[key] = (torch.cat(bias.chunk(3)[::2]) for bias in (tensor, other[key]))
        torch.testing.assert_close(other[key], tensor, atol=1e-10, rtol=0, msg=key)
