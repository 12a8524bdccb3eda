"""The papers' towers against builds of open_clip's and timm's own, and against their authors' formulas written out."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import open_clip
import pytest
import timm
import torch

from clipsieve.training.towers.tower import build_model, load_tower, tower_names
from tests.training.towers.test_towers import reduced

SCALING = ["vit-ti-16", "vit-s-16", "vit-b-32", "vit-b-16", "vit-l-16", "vit-h-14"]
SCALING += ["resnet-50", "convnext-t", "swin-t", "mixer-b-32"]
FIXED = ["clipa-b-16-pretrain", "clipa-l-16-pretrain", "clipa-h-14", "flip-b-16", "flip-l-16", "flip-h-14"]
OTHERS = [*FIXED, "clipa-b-16", "clipa-l-16", "slip-s-16", "slip-b-16", "slip-l-16"]
# name: image width, layers, heads; text width, layers, heads; common space; vocabulary
SIZES = {
    "clipa-b-16": (768, 12, 12, 512, 12, 8, 512, 49_408),
    "clipa-l-16": (1024, 24, 16, 768, 12, 12, 768, 49_408),
    "clipa-h-14": (1280, 32, 16, 1024, 24, 16, 1024, 32_000),
    "flip-b-16": (768, 12, 12, 512, 12, 8, 512, 30_523),
    "flip-l-16": (1024, 24, 16, 768, 12, 12, 768, 30_523),
    "flip-h-14": (1280, 32, 16, 1024, 24, 16, 1024, 30_523),
    "slip-s-16": (384, 12, 12, 512, 12, 8, 512, 49_408),
    "vit-ti-16": (192, 12, 3, 768, 12, 12, 768, 32_000),
    "vit-b-32": (768, 12, 12, 768, 12, 12, 768, 32_000),
    "vit-l-16": (1024, 24, 16, 768, 12, 12, 768, 32_000),
}


@cache
def built(name):
    """Without memory."""
    with torch.device("meta"):
        return build_model(load_tower(name))


@pytest.mark.parametrize("name, sizes", SIZES.items())
def test_widths_layers_and_heads(name, sizes):
    model = built(name)
    found = []
    for transformer in (model.visual.transformer, model.transformer):
        found += [transformer.width, transformer.layers, transformer.resblocks[0].attn.num_heads]
    assert (*found, load_tower(name).model_cfg["embed_dim"], model.vocab_size) == sizes


def test_clipas_h14_is_open_clips_but_for_its_tokenizer_and_what_it_leaves_open():
    theirs, ours = open_clip.get_model_config("ViT-H-14-CLIPA"), load_tower("clipa-h-14").model_cfg
    assert ours["embed_dim"] == theirs["embed_dim"]
    for half in ("vision_cfg", "text_cfg"):
        stated = {k: v for k, v in theirs[half].items() if "tokenizer" not in k}
        assert {k: ours[half][k] for k in stated} == stated
        added = ours[half].keys() - stated.keys()
        assert added <= {"pos_embed_type", "act_kwargs", "norm_kwargs"}


@pytest.mark.parametrize(
    "name, timm_name", [("slip-b-16", "vit_base_patch16_224"), ("slip-l-16", "vit_large_patch16_224")]
)
def test_slips_image_tower_is_timms(name, timm_name):
    """SLIP builds it by ``timm.create_model(…, num_classes=0)``."""
    with torch.device("meta"):
        theirs = timm.create_model(timm_name, num_classes=0)
    shapes = {n: p.shape for n, p in theirs.state_dict().items()}
    assert {n: p.shape for n, p in built(name).visual.trunk.state_dict().items()} == shapes


@pytest.mark.parametrize("name", tower_names())
def test_no_tower_drops_paths(name):
    """One that does would be compared, regularised, with others that are not."""
    assert [n for n, m in built(name).named_modules() if getattr(m, "drop_prob", 0)] == []


@pytest.mark.parametrize("name", [*SCALING, *OTHERS])
def test_the_first_temperature(name):
    """big_vision's LiT has 10; CLIPA, FLIP and SLIP have CLIP's 1 / 0.07."""
    assert math.exp(load_tower(name).model_cfg["init_logit_scale"]) == pytest.approx(
        10 if name in SCALING else 1 / 0.07
    )


def test_the_first_temperature_is_that_of_the_model():
    assert build_model(reduced(load_tower("vit-ti-16"))).logit_scale.exp().item() == pytest.approx(10)


@pytest.mark.parametrize("name", FIXED)
def test_fixed_positions_are_mocos_sines_and_cosines(name):
    """Of width D, at (x, y): sin and cos of x w_i, then of y w_i, w_i = 10000^(-4 i / D); zero for the class token."""
    positions = build_model(reduced(load_tower(name))).visual.positional_embedding
    assert not positions.requires_grad
    side, width = 4, positions.shape[1]
    omega = 10_000.0 ** (-4 * np.arange(width // 4) / width)
    y, x = np.mgrid[:side, :side].reshape(2, -1, 1)
    table = np.concatenate([np.sin(x * omega), np.cos(x * omega), np.sin(y * omega), np.cos(y * omega)], axis=1)
    np.testing.assert_allclose(positions.numpy(), np.vstack([np.zeros(width), table]), atol=1e-6)


@pytest.mark.parametrize("name", [name for name in [*SCALING, *OTHERS] if name not in FIXED])
def test_other_positions_are_learned(name):
    visual = built(name).visual
    found = [p for n, p in visual.named_parameters() if n.endswith(("positional_embedding", "pos_embed"))]
    assert all(positions.requires_grad for positions in found)
    assert len(found) == (0 if name in ("resnet-50", "convnext-t", "swin-t", "mixer-b-32") else 1)


def norm(tokens, layer, eps):
    mean, variance = tokens.mean(-1, keepdim=True), tokens.var(-1, keepdim=True, unbiased=False)
    return (tokens - mean) / torch.sqrt(variance + eps) * layer.weight + layer.bias


POOLS = {
    "vit-b-32": lambda tokens, ln: norm(tokens[:, 0], ln, 1e-6),
    "slip-s-16": lambda tokens, ln: norm(tokens[:, 0], ln, 1e-6),
    "clipa-b-16": lambda tokens, ln: norm(tokens[:, 0], ln, 1e-5),
    "clipa-l-16": lambda tokens, ln: norm(tokens[:, 1:].mean(1), ln, 1e-5),
    "clipa-h-14": lambda tokens, ln: norm(tokens[:, 1:].mean(1), ln, 1e-6),
    "flip-b-16": lambda tokens, ln: norm(tokens, ln, 1e-6)[:, 1:].mean(1),
}


@pytest.mark.parametrize("name, pool", POOLS.items())
def test_image_tokens_are_pooled_as_the_authors_do(name, pool):
    tower = reduced(load_tower(name))
    torch.manual_seed(0)
    visual = build_model(tower).visual.eval()
    torch.nn.init.normal_(visual.ln_post.weight)
    torch.nn.init.normal_(visual.ln_post.bias)
    tokens = []
    visual.transformer.register_forward_hook(lambda *call: tokens.append(call[2]))
    with torch.no_grad():
        out = visual(torch.rand(2, 3, tower.image_size, tower.image_size))
        # Small tokens, on which the norm's epsilon shows.
        torch.testing.assert_close(out, pool(tokens[0], visual.ln_post) @ visual.proj, rtol=1e-4, atol=1e-4)


# first: FLIP reads a caption at its first word piece; last: a sticky end; argmax: CLIP's end token
@pytest.mark.parametrize(
    "names, pool, is_causal",
    [
        (["flip-b-16", "flip-h-14"], "first", False),
        (["clipa-h-14", "vit-b-32", "swin-t"], "last", False),
        (["clipa-b-16", "clipa-l-16", "slip-s-16", "slip-b-16"], "argmax", True),
    ],
)
def test_captions_are_read_where_the_authors_do(names, pool, is_causal):
    for name in names:
        model = built(name)
        assert (model.text_pool_type, model.attn_mask is not None) == (pool, is_causal)


@pytest.mark.parametrize(
    "names, image, text",
    [
        (["vit-b-32", "clipa-h-14", "flip-b-16", "flip-l-16", "flip-h-14"], "tanh", "tanh"),
        (["swin-t", "resnet-50"], None, "tanh"),
        (["clipa-b-16", "clipa-l-16", "slip-s-16"], "none", "none"),
        (["slip-b-16", "slip-l-16"], "none", "quick"),
    ],
)
def test_gelus(names, image, text):
    """None: the tower is timm's and has its own."""

    def kinds(module):
        found = {getattr(m, "approximate", "quick") for m in module.modules() if "GELU" in type(m).__name__}
        return found.pop() if len(found) == 1 else found

    for name in names:
        model = built(name)
        assert kinds(model.transformer) == text
        assert image is None or kinds(model.visual) == image


@pytest.mark.parametrize("name", [*SCALING, *OTHERS])
def test_only_clipas_gpu_towers_have_a_norm_before_the_layers(name):
    """CLIPA's torch configurations leave CLIP's there; big_vision, FLIP, SLIP and CLIPA's JAX code have none."""
    before = getattr(built(name).visual, "ln_pre", torch.nn.Identity())
    has_norm = not isinstance(before, torch.nn.Identity)
    assert has_norm == name.startswith(("clipa-b", "clipa-l"))


@pytest.mark.parametrize("name", SCALING)
def test_the_text_head_of_big_vision_has_a_bias(name):
    projection = built(name).text_projection
    assert isinstance(projection, torch.nn.Linear) and projection.bias.shape == (768,)
    assert math.prod(projection.weight.shape) == 768**2
