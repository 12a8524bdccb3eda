"""One process, two and four come to the same weights, with micro-batches and without."""

from __future__ import annotations

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


@pytest.mark.parametrize("accumulate", ACCUMULATES)
@pytest.mark.parametrize("name, world", [(name, world) for name in STRATEGIES for world in worlds_of(name)])
def test_processes_and_micro_batches_do_not_change_the_weights(trained, name, world, accumulate):
    one, other = (safetensors.torch.load_file(file_of(trained, name, *run)) for run in ((1, 1), (world, accumulate)))
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        if key.endswith("in_proj_bias"):
            # Attention does not depend on the keys' bias: its gradient is rounding, which AdamW blows up.
            tensor, other[key] = (torch.cat(bias.chunk(3)[::2]) for bias in (tensor, other[key]))
        torch.testing.assert_close(other[key], tensor, atol=1e-5, rtol=0, msg=key)
