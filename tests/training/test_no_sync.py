"""In a step the host never waits for the device: nothing is read back, and no constant is copied there.

No GPU is needed to see it: operations that would wait are known by name.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.test_step import batch_of, stepper_of

READ_BACK = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "unique_dim", "_unique2"}
CONSTANT = {"lift_fresh"}


class NoSync(TorchDispatchMode):
    """Fails at an operation that waits for the device, or that makes a tensor of Python's numbers."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert name not in READ_BACK | CONSTANT, f"{name} makes the host wait"
        if name == "index":
            assert all(index is None or index.dtype != torch.bool for index in args[1]), "a mask has to be counted"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("wrong", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x * torch.tensor([2.0])])
def test_what_waits_is_seen(wrong):
    with pytest.raises(AssertionError), NoSync():
        wrong(torch.ones(3))


@pytest.mark.parametrize(
    "options",
    [
        {"image_mask": "random"},
        {"image_mask": "random", "accumulate": 3, "precision": "bf16"},
        {"strategy": "siglip"},
        {"strategy": "slip", "augment": "crop", "precision": "bf16"},
        {"lock_image": True, "grad_clip": None},
    ],
)
def test_a_step_reads_nothing_back(tower_file, alone, options):
    """But for the first, in which buffers are made."""
    stepper = stepper_of(tower_file, alone, **options)
    batch, kept = batch_of(stepper.strategy), stepper.strategy.draw_kept(range(12))
    stepper.take(batch, kept)
    with NoSync():
        stepper.take(batch, kept)
