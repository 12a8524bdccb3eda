"""What a run asks of torch, and that it is as before afterwards."""

from __future__ import annotations

import pytest
import torch

from clipsieve.schemas.threads import cores
from clipsieve.training.runtime import _exactness, start_runtime

GPU = torch.device("cuda")


def tf32():
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark


@pytest.mark.parametrize("deterministic", ["auto", "always", "never"])
def test_on_cpus_a_run_is_deterministic_unless_told_otherwise(deterministic):
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), tf32()
    with start_runtime(10, deterministic) as runtime:
        expected = deterministic == "always" or (deterministic == "auto" and runtime.device.type == "cpu")
        assert torch.are_deterministic_algorithms_enabled() == expected
    assert (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), tf32()) == before


@pytest.mark.parametrize("is_deterministic", [True, False])
def test_on_gpus_tf32_and_autotuning_come_with_the_fastest_algorithms(is_deterministic):
    """The switches alone: they can be turned without a GPU."""
    before = tf32()
    with _exactness(GPU, is_deterministic):
        assert tf32() == (not is_deterministic,) * 3
        assert torch.are_deterministic_algorithms_enabled() == is_deterministic
    assert tf32() == before


def test_a_run_computes_in_the_threads_that_it_is_given():
    before = torch.get_num_threads()
    for threads, expected in ((3, 3), (None, cores())):
        with start_runtime(60, threads=threads):
            assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == before
