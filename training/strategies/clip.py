"""CLIP (Radford et al. 2021, section 2.3): each image finds its text among all texts, each text its image.

With an image mask it is FLIP (Li et al. 2023), with short texts and masks CLIPA (Li, Wang, Xie 2023).
"""

from __future__ import annotations

from torch import Tensor

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies.base import Strategy
from clipsieve.training.strategies.collectives import gather
from clipsieve.training.strategies.contrast import softmax_loss
from clipsieve.training.towers.tower import ClipModel, Tower


class Clip(Strategy):
    """The symmetric cross-entropy of the step's B x B cosines, scaled by a learned temperature."""

    def __init__(self, options: TrainOptions, tower: Tower, model: ClipModel, runtime: Runtime) -> None:
        super().__init__(options, tower, model, runtime)
        if model.logit_bias is not None:
            model.logit_bias.requires_grad_(False)  # a softmax does not depend on it

    def loss(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        scale, image, text = self.model.logit_scale.exp(), features["image"], features["text"]
        first = self._runtime.rank * len(image)  # each process computes its own rows
        images, texts = gather(image, self._runtime), gather(text, self._runtime)
        return {"loss": (softmax_loss(scale * image, texts, first) + softmax_loss(scale * text, images, first)) / 2}
