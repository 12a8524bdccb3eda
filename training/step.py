"""One step of training: forward, loss, backward, clip, update.

With micro-batches it is GradCache's way (Gao et al. 2021), exact for a loss that compares each sample with all: the
features of every micro-batch are computed without a graph, the loss over all of them gives each feature's gradient,
and a second forward pass of every micro-batch, with the random numbers of its first, takes that to the weights. It
costs a third more compute and the activations of one micro-batch alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.data.loader import Batch
from clipsieve.training.data.normalise import Normalise
from clipsieve.training.optimizers import clip_gradients
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies.base import Strategy, widened
from clipsieve.training.strategies.distillation import distilled
from clipsieve.training.strategies.texts import brief_texts

Features = dict[str, Tensor]


@dataclass(frozen=True)
class StepResult:
    """What one step measured, on the device."""

    losses: Mapping[str, Tensor]
    """``loss`` and its parts, float32[]: means over this process's share of the step."""
    grad_norm: Tensor
    """float32[], before clipping."""


@dataclass(frozen=True)
class MicroBatch:
    """Some samples of a step, on the device."""

    images: dict[str, Tensor]
    """uint8[B, 3, S, S] by view."""
    texts: Tensor
    """int64[U, L]; see `Strategy.forward`."""
    rows: Tensor | None
    kept: Tensor | None
    """int64[B, K], the patches of each image that are left of it; None: all."""


@dataclass(frozen=True)
class Stepper:
    """Takes the steps of a run: what they all work on."""

    strategy: Strategy
    trained: torch.nn.Module
    """The strategy, as the runtime wrapped it for its processes."""
    optimizer: torch.optim.Optimizer
    options: TrainOptions
    preprocess_cfg: dict[str, Any]
    runtime: Runtime

    def take(self, batch: Batch, kept: Tensor | None) -> StepResult:
        """Train on this process's share of a step: nothing in it makes the host wait for the device.

        ``kept``: int64[B, K] on the CPU, the patches of each image that are left of it; None: all.
        """
        parts = self._split(batch, kept)
        taught = None if batch.teacher is None else batch.teacher.to(self.runtime.device, non_blocking=True)
        self.optimizer.zero_grad()
        losses = self._backward_at_once(parts[0], taught) if len(parts) == 1 else self._backward_in_parts(parts, taught)
        self._average_what_is_not_wrapped()
        norm = clip_gradients(self.trained, self.options.grad_clip)
        self.optimizer.step()
        self.strategy.clamp_scale()
        return StepResult({name: loss.detach() for name, loss in losses.items()}, norm)

    def _split(self, batch: Batch, kept: Tensor | None) -> list[MicroBatch]:
        """At most ``accumulate`` parts, all but the last of one size."""
        device = self.runtime.device
        images = {view: pixels.to(device, non_blocking=True) for view, pixels in batch.images.items()}
        kept = None if kept is None else kept.to(device, non_blocking=True)
        size = -(-len(batch.texts) // self.options.accumulate)
        parts = []
        for start in range(0, len(batch.texts), size):
            part = slice(start, start + size)
            texts, rows = brief_texts(self.strategy.model, batch.texts[part])
            parts.append(
                MicroBatch(
                    {view: pixels[part] for view, pixels in images.items()},
                    texts.to(device, non_blocking=True),
                    None if rows is None else rows.to(device, non_blocking=True),
                    None if kept is None else kept[part],
                )
            )
        return parts

    @cached_property
    def _normalise(self) -> Normalise:
        return Normalise(self.preprocess_cfg, self.runtime.device)

    def _features(self, part: MicroBatch) -> Features:
        """The strategy's features, computed in the run's precision; float32, or float64 where the weights are."""
        images = {view: self._normalise(pixels) for view, pixels in part.images.items()}
        with self.strategy.autocast():
            features = self.trained(images, part.texts, part.kept, part.rows)
        return {name: widened(feature) for name, feature in features.items()}

    def _losses(self, features: Features, taught: Tensor | None) -> Features:
        losses = self.strategy.loss(features)
        if taught is None:
            return losses
        return distilled(losses, features, self.strategy.model.logit_scale.exp(), taught, self.options, self.runtime)

    def _backward_at_once(self, part: MicroBatch, taught: Tensor | None) -> Features:
        losses = self._losses(self._features(part), taught)
        losses["loss"].backward()
        return losses

    def _backward_in_parts(self, parts: list[MicroBatch], taught: Tensor | None) -> Features:
        device = self.runtime.device
        states, computed = [], []
        with torch.no_grad():
            for part in parts:
                states.append(_random_state(device))
                computed.append(self._features(part))
        features = {name: torch.cat([one[name] for one in computed]).requires_grad_() for name in computed[0]}
        learned = self.strategy.loss_parameters()
        losses = self._losses(features, taught)
        gradients = torch.autograd.grad(losses["loss"], [*features.values(), *learned])
        by_part = {
            name: gradient.split([len(one["image"]) for one in computed])
            for name, gradient in zip(features, gradients[: len(features)], strict=True)
        }
        for index, (part, state) in enumerate(zip(parts, states, strict=True)):
            is_last = index == len(parts) - 1
            _set_random_state(device, state)
            with self._synchronised(is_last):
                again = self._features(part)
                carried = sum((again[name] * by_part[name][index]).sum() for name in again)
                if is_last:  # once, and in a backward pass that DDP averages
                    own = gradients[len(features) :]
                    carried = carried + sum((p * g).sum() for p, g in zip(learned, own, strict=True))
                carried.backward()
        return losses

    @contextmanager
    def _synchronised(self, is_last: bool) -> Iterator[None]:
        """Sum a micro-batch's gradients in this process alone, unless it is the last: its backward pass shares all."""
        if is_last:
            yield
        elif isinstance(self.trained, DistributedDataParallel):
            with self.trained.no_sync():
                yield
        elif isinstance(self.trained, FSDPModule):
            self.trained.set_requires_gradient_sync(False)
            yield
            self.trained.set_requires_gradient_sync(True)
        else:
            yield

    def _average_what_is_not_wrapped(self) -> None:
        """FSDP leaves the loss's own parameters whole, and their gradients to us; DDP averages them like any."""
        if self.runtime.world_size == 1 or isinstance(self.trained, DistributedDataParallel):
            return
        for gradient in (parameter.grad for parameter in self.strategy.loss_parameters()):
            if gradient is not None:
                dist.all_reduce(gradient)
                gradient.div_(self.runtime.world_size)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
