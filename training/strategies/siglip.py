"""SigLIP (Zhai et al. 2023): each pair of an image and a text is judged by itself, by a sigmoid with a bias."""

from __future__ import annotations

import math

from open_clip.loss import SigLipLoss
from torch import Tensor

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies.base import Strategy
from clipsieve.training.towers.tower import ClipModel, Tower

INITIAL_SCALE, INITIAL_BIAS = math.log(10), -10.0
"""SigLIP, section 3.2: at the start nearly every pair is judged to be none, as nearly every pair is."""


class SigLip(Strategy):
    """The mean over images of the sum over texts; the texts travel from process to process, one chunk at a time."""

    def __init__(self, options: TrainOptions, tower: Tower, model: ClipModel, runtime: Runtime) -> None:
        super().__init__(options, tower, model, runtime)
        self._judge = SigLipLoss(rank=runtime.rank, world_size=runtime.world_size)

    def loss(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        scale, bias = self.model.logit_scale.exp(), self.model.logit_bias
        return {"loss": self._judge(features["image"], features["text"], scale, bias)}
