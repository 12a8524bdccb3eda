"""What a run sets up in its process, and leaves as it was."""

from __future__ import annotations

import torch

from clipsieve.schemas.threads import cores
from clipsieve.training.runtime import start_runtime


def test_a_run_computes_in_the_threads_that_it_is_given():
    before = torch.get_num_threads()
    for threads, expected in ((3, 3), (None, cores())):
        with start_runtime(60, threads):
            assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == before
