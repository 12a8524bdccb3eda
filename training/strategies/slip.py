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
from clipsieve.training.strategies.base import View, gather
from clipsieve.training.strategies.clip import Clip
from clipsieve.training.towers.tower import ClipModel, Tower

TEMPERATURE, SCALE, OUTPUT = 0.1, 1.0, 256
"""Of SimCLR's cosines; of its loss next to CLIP's; the head's output width (SLIP, section 4 and its code)."""
_SSL_VIEWS = ("ssl_a", "ssl_b")


class Slip(Clip):
    """CLIP on the caption's view and SimCLR on two; the head's batch norms see the whole step's batch."""

    def __init__(self, options: TrainOptions, tower: Tower, model: ClipModel, runtime: Runtime) -> None:
        super().__init__(options, tower, model, runtime)
        self.views = (*self.views, *(View(name, "simclr") for name in _SSL_VIEWS))
        self.head = _head(_width(model, tower), options.slip_width)

    def forward(
        self, images: dict[str, Tensor], texts: Tensor, kept: Tensor | None = None, rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Adds each view's features before the projection, [B, width]."""
        features = super().forward(images, texts, kept, rows)
        return features | {name: _before_projection(self.model.visual, images[name]) for name in _SSL_VIEWS}

    def loss(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        contrast = super().loss(features)["loss"]
        # Each process runs the head on the views of all: its batch norms need no process group of their own.
        every = [F.normalize(self.head(gather(features[name], self._runtime)), dim=-1) for name in _SSL_VIEWS]
        ssl = SCALE * simclr_loss(every[0], every[1], self._own(len(features["image"])))
        return {"loss": contrast + ssl, "clip_loss": contrast, "ssl_loss": ssl}

    def loss_parameters(self) -> list[torch.nn.Parameter]:
        return [*super().loss_parameters(), *self.head.parameters()]

    def _own(self, rows: int) -> slice:
        return slice(self._runtime.rank * rows, (self._runtime.rank + 1) * rows)


def simclr_loss(first: Tensor, second: Tensor, own: slice) -> Tensor:
    """NT-Xent (SimCLR, equation 1) over the rows ``own`` of both views; ``first``, ``second``: [N, D], unit length."""
    labels = torch.arange(len(first), device=first.device)[own]
    total = first.new_zeros(())
    for query, match in ((first, second), (second, first)):
        same = query[own] @ query.T / TEMPERATURE
        same = same.scatter(1, labels[:, None], -torch.inf)  # a view is not its own neighbour
        logits = torch.cat([query[own] @ match.T / TEMPERATURE, same], dim=1)
        total = total + F.cross_entropy(logits, labels)
    return total / 2


def _head(width: int, hidden: int) -> torch.nn.Sequential:
    """SLIP's head, less the biases that its norms would take off again. It sees no batch but training's: no running
    statistics."""
    layers: list[torch.nn.Module] = []
    for inputs in (width, hidden):
        norm = torch.nn.BatchNorm1d(hidden, track_running_stats=False)
        layers += [torch.nn.Linear(inputs, hidden, bias=False), norm, torch.nn.ReLU()]
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
