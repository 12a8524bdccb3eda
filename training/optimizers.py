"""Optimizers and their schedule: AdamW, and the Adafactor of big_vision with which Scaling (Down) CLIP trained."""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.optim.adafactor_bv import AdafactorBigVision
from torch.distributed.tensor import DTensor

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.strategies.base import Strategy

_MAX_DECAY_PER_STEP = 0.01


def make_optimizer(strategy: Strategy, options: TrainOptions) -> torch.optim.Optimizer:
    """The optimizer that ``options`` name, at its peak learning rate; only kernels are decayed.

    Under adafactor ``betas`` are the momentum and the cap of the second moment's decay, and ``weight_decay``
    is the share that a step at the peak takes off (big_vision: decay follows the schedule, not the learning
    rate). With ``compile`` its step is compiled, but not over FSDP's shares. AdamW is torch's fused one.
    """
    groups = decay_groups(strategy, options.weight_decay)
    if options.optimizer == "adamw":
        return torch.optim.AdamW(
            groups, lr=options.peak_learning_rate, betas=options.betas, eps=options.adam_eps, fused=True
        )
    if options.weight_decay > _MAX_DECAY_PER_STEP:
        raise InputError(
            f"`weight_decay` {options.weight_decay}: with adafactor a step takes this share off the weights; "
            f"give at most {_MAX_DECAY_PER_STEP} (the paper has 1e-4)"
        )
    momentum, beta2_cap = options.betas
    is_compiled = options.compile and options.parallel == "ddp"
    rate: Any = options.peak_learning_rate  # of timm's two kinds of rate its annotation names one
    if is_compiled:  # compiled code would make a constant of a number
        rate = torch.tensor(rate, dtype=torch.float64)
    optimizer = AdafactorBigVision(
        groups,
        lr=rate,
        min_dim_size_to_factor=32,
        momentum=momentum,
        beta2_cap=beta2_cap,
        unscaled_wd=True,
        corrected_weight_decay=True,
    )
    if is_compiled:  # it launches a kernel for each of some fifteen operations on each tensor
        optimizer.step = torch.compile(optimizer.step)  # type: ignore[method-assign]
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the steps to come."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def decay_groups(strategy: Strategy, weight_decay: float) -> list[dict[str, object]]:
    """Parameter groups: kernels, decayed; biases, norms, embeddings and the logit scale, not decayed.

    What is locked is in none. No group mixes parameters that FSDP shards with whole ones: an optimizer's kernels
    take a group's tensors together.
    """
    embeddings = {id(m.weight) for m in strategy.modules() if isinstance(m, torch.nn.Embedding)}
    exempt = {f"model.{name}" for name in strategy.model.no_weight_decay()}
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in strategy.named_parameters():
        if not parameter.requires_grad:
            continue
        is_kernel = parameter.ndim >= 2 and name not in exempt and id(parameter) not in embeddings
        groups.setdefault((is_kernel, isinstance(parameter, DTensor)), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if is_kernel else 0.0}
        for (is_kernel, _), parameters in sorted(groups.items(), key=lambda group: group[0], reverse=True)
    ]


def learning_rate(options: TrainOptions, step: int, steps: int) -> float:
    """At ``step`` of 0..steps-1: it rises to the peak and falls to ``final_learning_rate``."""
    peak = options.peak_learning_rate
    return peak * schedule(step, steps, options.warmup_steps, options.final_learning_rate / peak)


def schedule(step: int, steps: int, warmup_steps: int, final: float = 0.0) -> float:
    """Share of the peak learning rate at ``step`` of 0..steps-1: linear warm-up, then a cosine to ``final``.

    It starts at 1 / warmup_steps, is 1 at step warmup_steps - 1 and at the next, and would be ``final`` at ``steps``;
    ``warmup_steps`` is below ``steps``.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps)))


def clip_gradients(model: torch.nn.Module, limit: float | None) -> torch.Tensor:
    """Scale the gradients down to a total norm of ``limit``; returns the norm before, float32[]."""
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    kinds = [[p for p in parameters if isinstance(p, DTensor) is is_sharded] for is_sharded in (False, True)]
    norms = [_norm(kind) for kind in kinds if kind]
    total = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    for kind in kinds:
        torch.nn.utils.clip_grads_with_norm_(kind, limit or math.inf, total)
    return total


def _norm(parameters: list[torch.nn.Parameter]) -> torch.Tensor:
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
