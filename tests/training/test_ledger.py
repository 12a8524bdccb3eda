"""The ledger against what Scaling (Down) CLIP prints for its towers, and against a count by hand."""

from __future__ import annotations

import pytest

from training.ledger import tower_cost
from training.towers import Tower, build_model, load_tower

TEXT = {"context_length": 16, "vocab_size": 32_000, "width": 768, "heads": 12, "layers": 12}


def paper_tower(**vision):
    vision_cfg = {"image_size": 224, "head_width": 64, **vision}
    return Tower("paper", {"embed_dim": 768, "vision_cfg": vision_cfg, "text_cfg": TEXT}, {"size": 224})


@pytest.mark.parametrize(
    "vision, printed",
    [
        ({"width": 192, "layers": 12, "patch_size": 16}, 1.25),
        ({"width": 384, "layers": 12, "patch_size": 16}, 4.6),
        ({"width": 768, "layers": 12, "patch_size": 32}, 4.41),
        ({"width": 768, "layers": 12, "patch_size": 16}, 17.6),
        ({"timm_model_name": "resnet50", "timm_pool": "", "timm_proj": "linear"}, 4.1),
        ({"timm_model_name": "convnext_tiny", "timm_pool": "", "timm_proj": "linear"}, 4.5),
    ],
)
def test_costs_are_those_of_the_paper(vision, printed):
    cost = tower_cost(paper_tower(**vision))
    decimals = len(str(printed).partition(".")[2])
    assert round(cost.image_macs / 1e9, decimals) == printed
    assert round(cost.text_macs / 1e9, 2) == 1.36


def test_a_tower_of_one_layer_costs_what_its_matrices_say(tower_file):
    tower = load_tower(tower_file)

    def layer(tokens, width):
        return 12 * tokens * width**2 + 2 * tokens**2 * width

    cost = tower_cost(tower)
    assert cost.image_macs == 4 * (3 * 8 * 8) * 32 + layer(1 + 4, 32) + 32 * 16
    assert cost.text_macs == layer(8, 32) + 32 * 16
    assert cost.parameters == sum(p.numel() for p in build_model(tower).parameters())
