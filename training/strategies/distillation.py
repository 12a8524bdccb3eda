"""A loss to a teacher's stored embeddings: which texts it finds near an image, and which images near a text.

MobileCLIP's (Vasu et al. 2024): the Kullback-Leibler divergence of the rows of cosines,

    L = (KL(softmax(T / t) || softmax(s S)) + KL(softmax(T' / t) || softmax(s S'))) / 2

as a mean over the rows, where T[i, j] is the teacher's cosine of image i and text j, S the student's, ' the transpose,
s the student's learned scale and t the teacher's temperature. With the weight w it is part of the whole loss,
(1 - w) times the strategy's and w times L. Pairs without embeddings are in none of its rows and columns.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies.collectives import gather

_NEVER = -1e4
"""A logit whose softmax is 0 in float32, and whose logarithm is finite."""


def distilled(
    losses: dict[str, Tensor],
    features: dict[str, Tensor],
    scale: Tensor,
    teacher: Tensor,
    options: TrainOptions,
    runtime: Runtime,
) -> dict[str, Tensor]:
    """The strategy's ``losses`` with the teacher's part; every process calls it.

    ``teacher``: [B, 2, D], the embeddings of image and text of this process's pairs, of unit length, or 0. ``scale``:
    what the cosines of ``features`` are multiplied by.
    """
    teacher = teacher.float()
    everyone = _gather_constant(teacher, runtime)
    is_known, is_column = teacher.any(dim=-1).all(dim=1), everyone.any(dim=-1).all(dim=1)
    divergence = torch.zeros((), device=teacher.device)
    for query, key, number in (("image", "text", 0), ("text", "image", 1)):
        ours = scale * features[query] @ gather(features[key], runtime).T
        theirs = teacher[:, number] @ everyone[:, 1 - number].T / options.teacher_temperature
        ours, theirs = (logits.masked_fill(~is_column, _NEVER) for logits in (ours, theirs))
        rows = F.kl_div(ours.log_softmax(dim=1), theirs.log_softmax(dim=1), log_target=True, reduction="none").sum(1)
        divergence = divergence + (rows * is_known).sum() / 2
    # The processes' losses are averaged: each divides by its share of the rows of all.
    divergence = divergence * runtime.world_size / is_column.sum().clamp(min=1)
    weight = options.teacher_weight
    whole = (1 - weight) * losses["loss"] + weight * divergence
    return {**losses, "loss": whole, "teacher_loss": divergence}


def _gather_constant(values: Tensor, runtime: Runtime) -> Tensor:
    """[B, …] of each process -> [B · processes, …] in the order of the ranks; nothing is learnt through it."""
    if runtime.world_size == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(runtime.world_size)]
    dist.all_gather(parts, values.contiguous())
    return torch.cat(parts)
