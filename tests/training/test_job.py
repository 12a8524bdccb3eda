"""What a run's processes take of its stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.data.order import make_order
from clipsieve.training.job import Job
from clipsieve.training.runtime import Runtime
from tests.training.data.plans import plan_of

STEPS, BATCH = 30, 8
NOTHING: Any = None


@pytest.mark.parametrize("by_shard", [False, True])
def test_processes_share_each_step_of_the_one_stream(by_shard):
    options = TrainOptions(samples=STEPS * BATCH, batch_size=BATCH, seed=3)
    order = make_order(plan_of([7, 20, 23, 5], by_shard=by_shard), (), options.seed, BATCH, window=2)
    for world in (1, 2, 4):
        jobs = [
            Job(options, NOTHING, order, "out", Runtime(rank, world, torch.device("cpu"), None), NOTHING)
            for rank in range(world)
        ]
        taken = [
            order.slice(share.start, share.stop) for step in range(STEPS) for share in (j.share(step) for j in jobs)
        ]
        assert np.array_equal(np.concatenate(taken), order.slice(0, STEPS * BATCH))
