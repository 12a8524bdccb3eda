"""What the processes of a run share within a loss, with gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from clipsieve.training.runtime import Runtime


def gather(values: Tensor, runtime: Runtime) -> Tensor:
    """[B, …] of each process -> [B · processes, …] in the order of the ranks, with gradients.

    The gradient of a process's rows is the sum of those that all processes have for them.
    """
    if runtime.world_size == 1:
        return values
    return _Gather.apply(values, runtime.world_size)


class _Gather(torch.autograd.Function):
    """All-gather, and its transpose, reduce-scatter: the collectives over lists are those that no torch deprecates."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, processes: int) -> Tensor:
        ctx.processes = processes
        every = values.new_empty(processes * len(values), *values.shape[1:])
        dist.all_gather(list(every.chunk(processes)), values.contiguous())
        return every

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        parts = list(gradient.contiguous().chunk(ctx.processes))
        own = torch.empty_like(parts[0])
        dist.reduce_scatter(own, parts)
        return own, None
