"""What a tower costs: parameters, and multiply-accumulates (MAC) of a forward pass per pair.

The count is of matrix products, convolutions and attention, as in the papers' tables of GFLOPs, which are
MACs: ViT-B/16 at 224 px has 17.6 G. A training step costs three times the forward pass; FLOPs are twice the
MACs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.towers import Tower, build_model


@dataclass(frozen=True)
class Cost:
    """A tower's size and the forward cost of one pair."""

    parameters: int
    image_macs: int
    text_macs: int


def tower_cost(tower: Tower) -> Cost:
    """Counted on torch's meta device: no memory is taken, nothing is computed."""
    with torch.device("meta"):
        model = build_model(tower)
        image = torch.zeros(1, 3, tower.image_size, tower.image_size)
        text = torch.zeros(1, tower.model_cfg["text_cfg"].get("context_length", 77), dtype=torch.long)
        macs = []
        for encode, pair_half in ((model.encode_image, image), (model.encode_text, text)):
            with FlopCounterMode(display=False) as counter:
                encode(pair_half)
            macs.append(counter.get_total_flops() // 2)
    return Cost(sum(p.numel() for p in model.parameters()), *macs)
