"""What every strategy is: a model, the views of an image that it trains on, its loss, and what the loss learns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies.masks import draw_kept, install_mask
from clipsieve.training.strategies.texts import encode_text
from clipsieve.training.towers.tower import ClipModel, Tower

MAX_LOG_SCALE = math.log(100)
"""Cap of the learned logit scale's logarithm (Radford et al. 2021, section 2.5)."""
CAPTION_VIEW = "image"
"""The view that is compared with the caption."""


@dataclass(frozen=True)
class View:
    """One way to look at an image."""

    name: str
    augment: str
    """A name of `clipsieve.training.data.augmentations.AUGMENTATIONS`."""


class Strategy(torch.nn.Module):
    """A way to train a CLIP model: its forward pass, by micro-batch, and its loss over the whole step.

    The forward pass is what DDP or FSDP wraps, and knows of no other sample. The loss sees the features of the whole
    step: this process's own, with those of the others gathered with their gradients, so that the average of the
    processes' gradients is the gradient that one process would have.
    """

    model: ClipModel
    """The open_clip model: what is exported."""
    views: tuple[View, ...]

    def __init__(self, options: TrainOptions, tower: Tower, model: ClipModel, runtime: Runtime) -> None:
        """Raises InputError for what the tower cannot do."""
        super().__init__()
        self.model, self._options, self._runtime = model, options, runtime
        self.views = (View(CAPTION_VIEW, options.augment),)
        self._mask, self._grid = None, (0, 0)
        if options.image_mask != "none":
            self._mask, self._grid = install_mask(model, tower, options)
        if options.lock_image:
            model.lock_image_tower()

    def train(self, mode: bool = True) -> Strategy:
        """As torch's; a locked image tower stays in evaluation, so that its batch statistics do not move."""
        super().train(mode)
        if self._options.lock_image:
            self.model.visual.eval()
        return self

    def draw_kept(self, positions: range) -> Tensor | None:
        """int64[B, K], the patches that the samples at these positions are trained on; None: all of them."""
        kept = draw_kept(self._options, positions, self._grid)
        if kept is None:
            return None
        drawn = torch.from_numpy(kept)
        return drawn.pin_memory() if self._runtime.device.type == "cuda" else drawn

    def autocast(self) -> torch.autocast:
        """Within the block, products are computed in the run's precision."""
        is_bf16 = self._options.precision == "bf16"
        return torch.autocast(self._runtime.device.type, torch.bfloat16, enabled=is_bf16)

    def forward(
        self, images: dict[str, Tensor], texts: Tensor, kept: Tensor | None = None, rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Features of a micro-batch, each [B, …]: ``image`` and ``text`` [B, D] of unit length, and a strategy's own.

        ``images``: float32[B, 3, S, S] by view, normalised. ``texts``: int64[U, L]. ``rows``: int64[B], which of the
        texts each image has; None: they are B, in the images' order.
        """
        if self._mask is None:
            image = self.model.encode_image(images[CAPTION_VIEW], normalize=True)
        else:
            with self._mask.keep(kept):
                image = self.model.encode_image(images[CAPTION_VIEW], normalize=True)
        text = encode_text(self.model, texts)
        return {"image": image, "text": text if rows is None else text[rows]}

    def project(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """What `loss` compares: the features, but for those that a head of the strategy takes first."""
        return features

    def loss(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """``loss`` and its parts, float32[]: means over this process's share of the step.

        ``features``: `forward`'s of this process's whole share, float32[B, …]. Every process calls it.
        """
        raise NotImplementedError

    def loss_parameters(self) -> list[torch.nn.Parameter]:
        """What `loss` learns and `forward` does not use: it must be whole in every process (FSDP: ignored)."""
        learned = (self.model.logit_scale, self.model.logit_bias)
        return [parameter for parameter in learned if parameter is not None and parameter.requires_grad]

    @torch.no_grad()
    def clamp_scale(self) -> None:
        """Keep the logit scale within [1, 100]."""
        self.model.logit_scale.clamp_(0, MAX_LOG_SCALE)


def widened(values: Tensor) -> Tensor:
    """``values`` in float32, or in float64 where they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
