"""The ledger against what Scaling (Down) CLIP prints for its towers, and against a count by hand."""

from __future__ import annotations

import pytest

from clipsieve.schemas.ledger import LEDGER_NAME, Ledger, write_ledger
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.cost.ledger import tower_cost
from clipsieve.training.towers.tower import Tower, build_model, load_tower

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


@pytest.mark.parametrize(
    "options, printed",
    [
        ({"strategy": "slip", "augment": "crop"}, 2.5),  # Scaling (Down) CLIP, section 5
        ({"image_mask": "random"}, 0.63),
    ],
)
def test_a_strategys_cost_is_the_papers_share_of_clips(options, printed):
    tower = paper_tower(width=768, layers=12, patch_size=32)
    cost, clip = tower_cost(tower, TrainOptions(**options)), tower_cost(tower)
    ratio = (cost.image_macs + cost.text_macs) / (clip.image_macs + clip.text_macs)
    assert ratio == pytest.approx(printed, abs=0.04)


def test_slips_head_is_counted(tower_file):
    """Two views more, each through three products."""
    tower = load_tower(tower_file)
    slip = tower_cost(tower, TrainOptions(strategy="slip", augment="crop", slip_width=64))
    head = 32 * 64 + 64 * 64 + 64 * 256
    clip = tower_cost(tower)
    assert slip.image_macs == 3 * clip.image_macs - 2 * 32 * 16 + 2 * head  # its views are taken before the projection
    assert (slip.text_macs, slip.parameters) == (clip.text_macs, clip.parameters)


def test_training_is_three_passes_and_a_locked_tower_one(tower_file):
    tower = load_tower(tower_file)
    cost, locked = tower_cost(tower), tower_cost(tower, TrainOptions(lock_image=True))
    assert cost.training_flops == 2 * 3 * (cost.image_macs + cost.text_macs)
    assert locked.training_flops == 2 * (locked.image_macs + 3 * locked.text_macs)
    assert (locked.image_macs, locked.text_macs) == (cost.image_macs, cost.text_macs)


def test_a_ledger_is_read_as_it_was_written(tmp_path):
    counts = {name: 1 for name in Ledger.model_fields if name not in ("device", "device_hours")}
    ledger = Ledger(**counts, device="CPU", device_hours=0.5)
    write_ledger(ledger, str(tmp_path))
    assert Ledger.model_validate_json((tmp_path / LEDGER_NAME).read_bytes()) == ledger
