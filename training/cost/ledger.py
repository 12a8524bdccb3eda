"""What a run costs: parameters, and multiply-accumulates (MAC) of a forward pass and of a training step, per pair.

The count is of matrix products, convolutions and attention, as in the papers' tables of GFLOPs, which are MACs:
ViT-B/16 at 224 px has 17.6 G.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from clipsieve.schemas.options import TrainOptions
from clipsieve.training.runtime import Runtime
from clipsieve.training.strategies.registry import make_strategy
from clipsieve.training.towers.tower import Tower, build_model

FLOPS_PER_MAC = 2
PASSES = 3
"""Forward passes that a training step is taken for: one, and a backward pass of two."""
_PAIRS = 2
"""That a count is made of: the batch norms of a head take no single one."""


@dataclass(frozen=True)
class Cost:
    """A model's size, and the forward cost of one pair as a strategy trains on it."""

    parameters: int
    image_macs: int
    """All views and what a strategy's head makes of them; masked patches left out."""
    text_macs: int
    is_locked: bool = False
    """Whether the image tower takes no backward pass."""

    @property
    def training_macs(self) -> int:
        """Of one pair's share of a step."""
        return (1 if self.is_locked else PASSES) * self.image_macs + PASSES * self.text_macs

    @property
    def training_flops(self) -> int:
        return FLOPS_PER_MAC * self.training_macs


def tower_cost(tower: Tower, options: TrainOptions = TrainOptions()) -> Cost:
    """Counted on torch's meta device: no memory is taken, nothing is computed."""
    device = torch.device("meta")
    with device:
        strategy = make_strategy(options, tower, build_model(tower), Runtime(0, 1, torch.device("cpu"), None)).eval()
        text = torch.zeros(_PAIRS, tower.model_cfg["text_cfg"].get("context_length", 77), dtype=torch.long)
        image = torch.zeros(_PAIRS, 3, tower.image_size, tower.image_size)
    kept = strategy.draw_kept(range(_PAIRS))
    images = {view.name: image for view in strategy.views}
    total = _macs(lambda: strategy.project(strategy(images, text, None if kept is None else kept.to(device))))
    text_macs = _macs(lambda: strategy.model.encode_text(text))
    parameters = sum(parameter.numel() for parameter in strategy.model.parameters())
    return Cost(parameters, total - text_macs, text_macs, options.lock_image)


def _macs(compute: Callable[[], object]) -> int:
    """Of one pair, of what ``compute`` does for `_PAIRS`."""
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops() // FLOPS_PER_MAC // _PAIRS
