"""The table of the towers that come with clipsieve, as `clipsieve towers` prints it and docs/towers.md holds it."""

from __future__ import annotations

from clipsieve.training.cost.ledger import tower_cost
from clipsieve.training.towers.tower import load_tower, tower_names

_HEADER = """| tower | image tower | px | text tower | tokens | parameters, M | image GMAC | text GMAC |
|---|---|---|---|---|---|---|---|"""
_SMALL = ("-tiny-", "-small-")


def towers_table() -> str:
    """Markdown: sizes, and the forward pass of a pair in multiply-accumulates, as the papers count their GFLOPs."""
    return "\n".join(
        [_HEADER, *map(_row, sorted(tower_names(), key=lambda name: (any(word in name for word in _SMALL), name)))]
    )


def _row(name: str) -> str:
    tower = load_tower(name)
    cost, vision, text = tower_cost(tower), tower.model_cfg["vision_cfg"], tower.model_cfg["text_cfg"]
    image_tower = (
        vision.get("timm_model_name") or f"ViT {vision['width']}/{vision['layers']}, patch {vision['patch_size']}"
    )
    cells = (
        name,
        image_tower,
        str(tower.image_size),
        f"{text['width']}/{text['layers']}",
        str(text["context_length"]),
        f"{cost.parameters / 1e6:.1f}",
        f"{cost.image_macs / 1e9:.3g}",
        f"{cost.text_macs / 1e9:.3g}",
    )
    return f"| {' | '.join(cells)} |"
