"""SLIP (Mu et al. 2022): CLIP, and SimCLR between two more views of the image, over the tower before its projection."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies.base import View, widened
from clipsieve.training.strategies.clip import Clip
from clipsieve.training.strategies.collectives import gather
from clipsieve.training.strategies.contrast import softmax_loss
from clipsieve.training.towers.tower import ClipModel, Tower

TEMPERATURE, SCALE, OUTPUT = 0.1, 1.0, 256
"""Of SimCLR's cosines; of its loss next to CLIP's; the head's output width (SLIP, section 4 and its code)."""
_SSL_VIEWS = ("ssl_a", "ssl_b")


class Slip(Clip):
    """CLIP on the caption's view and SimCLR on two; the head's batch norms see the whole step's batch."""

    def __init__(self, options: TrainOptions, tower: Tower, model: ClipModel, runtime: Runtime) -> None:
        super().__init__(options, tower, model, runtime)
        self.views = (*self.views, *(View(name, "simclr") for name in _SSL_VIEWS))
        self.head = _head(_width(model, tower), options.slip_width, runtime)

    def forward(
        self, images: dict[str, Tensor], texts: Tensor, kept: Tensor | None = None, rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Adds each view's features before the projection, [B, width]."""
        features = super().forward(images, texts, kept, rows)
        return features | {name: _before_projection(self.model.visual, images[name]) for name in _SSL_VIEWS}

    def project(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The head on both views: [B, `OUTPUT`] of unit length. Its batch norms see the rows of all processes."""
        with self.autocast():
            projected = {name: self.head(features[name]) for name in _SSL_VIEWS}
        return features | {name: F.normalize(widened(values), dim=-1) for name, values in projected.items()}

    def loss(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        contrast = super().loss(features)["loss"]
        projected = self.project(features)
        first, second = (projected[name] for name in _SSL_VIEWS)
        every = gather(first, self._runtime), gather(second, self._runtime)
        ssl = SCALE * simclr_loss(first, second, *every, self._runtime.rank)
        return {"loss": contrast + ssl, "clip_loss": contrast, "ssl_loss": ssl}

    def loss_parameters(self) -> list[torch.nn.Parameter]:
        return [*super().loss_parameters(), *self.head.parameters()]


class GlobalBatchNorm(torch.nn.BatchNorm1d):
    """Batch norm in training over the equally many rows of every process. It keeps no running statistics.

    torch's SyncBatchNorm is for GPUs alone, and waits for the device in each forward pass.
    """

    def __init__(self, width: int, runtime: Runtime) -> None:
        super().__init__(width, track_running_stats=False)
        self._runtime = runtime

    def forward(self, values: Tensor) -> Tensor:
        """[B, width] of each process -> the same shape and dtype."""
        if self._runtime.world_size == 1:
            return super().forward(values)
        wide = widened(values)
        variance, mean = torch.var_mean(wide, dim=0, correction=0)
        means, variances = gather(torch.stack([mean, variance])[None], self._runtime).unbind(dim=1)
        # The variance of all is the mean of the processes' variances and the variance of their means.
        between, mean = torch.var_mean(means, dim=0, correction=0)
        scale = self.weight * torch.rsqrt(variances.mean(dim=0) + between + self.eps)
        return torch.addcmul(self.bias, wide - mean, scale).to(values.dtype)


def simclr_loss(first: Tensor, second: Tensor, all_first: Tensor, all_second: Tensor, rank: int) -> Tensor:
    """NT-Xent (SimCLR, equation 1) of a process's rows of two views, [B, D], among all, [N, D], of unit length."""
    start = rank * len(first)
    return (
        softmax_loss(first / TEMPERATURE, all_second, start, others=all_first)
        + softmax_loss(second / TEMPERATURE, all_first, start, others=all_second)
    ) / 2


def _head(width: int, hidden: int, runtime: Runtime) -> torch.nn.Sequential:
    """SLIP's head, less the biases that its norms would take off again."""
    layers: list[torch.nn.Module] = []
    for inputs in (width, hidden):
        layers += [torch.nn.Linear(inputs, hidden, bias=False), GlobalBatchNorm(hidden, runtime), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(hidden, OUTPUT))


def _width(model: ClipModel, tower: Tower) -> int:
    visual = model.visual
    if isinstance(visual, VisionTransformer):
        return int(visual.proj.shape[0])
    if isinstance(visual, TimmModel):
        return int(visual.trunk.num_features)
    raise InputError(f"`strategy` slip: tower {tower.name!r} has no features before a projection; take a ViT or timm's")


def _before_projection(visual: VisionTransformer | TimmModel, images: Tensor) -> Tensor:
    if isinstance(visual, TimmModel):
        return visual.trunk(images)
    return visual._pool(visual.transformer(visual._embeds(images)))[0]
