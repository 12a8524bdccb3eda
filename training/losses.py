"""CLIP's loss (Radford et al. 2021, section 2.3): symmetric cross-entropy of each image against each text."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from open_clip.loss import ClipLoss

from training.runtime import Runtime
from training.towers import ClipModel

MAX_LOG_SCALE = math.log(100)
"""Cap of the learned logit scale's logarithm (Radford et al. 2021, section 2.5)."""

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""image[B, D] and text[B, D], unit length, and the scale -> mean over this process's share of the step."""


def clip_loss(runtime: Runtime) -> Loss:
    """The loss over the whole step's batch, whatever the number of processes.

    Features are gathered with their gradients and each process computes its own rows, so that DDP's average
    over processes gives the gradients that one process would have.
    """
    return ClipLoss(
        local_loss=True,
        gather_with_grad=True,
        cache_labels=True,
        rank=runtime.rank,
        world_size=runtime.world_size,
    )


@torch.no_grad()
def clamp_scale(model: ClipModel) -> None:
    """Keep the logit scale within [1, 100]."""
    model.logit_scale.clamp_(0, MAX_LOG_SCALE)
