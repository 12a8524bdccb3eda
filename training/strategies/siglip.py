"""SigLIP (Zhai et al. 2023): each pair of an image and a text is judged by itself, by a sigmoid with a bias."""

from __future__ import annotations

import math

from torch import Tensor

from clipsieve.training.strategies.base import Strategy
from clipsieve.training.strategies.collectives import gather
from clipsieve.training.strategies.contrast import sigmoid_loss

INITIAL_SCALE, INITIAL_BIAS = math.log(10), -10.0
"""SigLIP, section 3.2: at the start nearly every pair is judged to be none, as nearly every pair is."""


class SigLip(Strategy):
    """The mean over images of the sum over all texts."""

    def loss(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        scale, bias, image = self.model.logit_scale.exp(), self.model.logit_bias, features["image"]
        texts = gather(features["text"], self._runtime)
        return {"loss": sigmoid_loss(scale * image, texts, self._runtime.rank * len(image), bias)}
