"""AdamW, and the Adafactor of big_vision with which Scaling (Down) CLIP trained."""

from __future__ import annotations

import math

import torch
from timm.optim.adafactor_bv import AdafactorBigVision

from schemas.errors import InputError
from schemas.recipe import TrainOptions
from training.towers import ClipModel

_MAX_DECAY_PER_STEP = 0.01


def make_optimizer(model: ClipModel, options: TrainOptions) -> torch.optim.Optimizer:
    """The optimizer that ``options`` name, at its peak learning rate; only kernels are decayed.

    Under adafactor ``betas`` are the momentum and the cap of the second moment's decay, and ``weight_decay``
    is the share that a step at the peak takes off (big_vision: decay follows the schedule, not the learning
    rate).
    """
    groups = decay_groups(model, options.weight_decay)
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.learning_rate, betas=options.betas, fused=True)
    if options.weight_decay > _MAX_DECAY_PER_STEP:
        raise InputError(
            f"weight_decay {options.weight_decay}: with adafactor a step takes this share off the weights; "
            f"give at most {_MAX_DECAY_PER_STEP} (the paper has 1e-4)"
        )
    momentum, beta2_cap = options.betas
    return AdafactorBigVision(
        groups,
        lr=options.learning_rate,
        min_dim_size_to_factor=32,
        momentum=momentum,
        beta2_cap=beta2_cap,
        unscaled_wd=True,
        corrected_weight_decay=True,
    )


def decay_groups(model: ClipModel, weight_decay: float) -> list[dict[str, object]]:
    """Two parameter groups: kernels, decayed; biases, norms, embeddings and the logit scale, not decayed."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    exempt = model.no_weight_decay()
    groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        is_kernel = parameter.ndim >= 2 and name not in exempt and id(parameter) not in embeddings
        groups[is_kernel].append(parameter)
    return [
        {"params": groups[True], "weight_decay": weight_decay},
        {"params": groups[False], "weight_decay": 0.0},
    ]


def clip_gradients(model: torch.nn.Module, limit: float | None) -> torch.Tensor:
    """Scale the gradients down to a total norm of ``limit``; returns the norm before, float32[]."""
    return torch.nn.utils.clip_grad_norm_(model.parameters(), limit or math.inf)
