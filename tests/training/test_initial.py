"""Weights of another model: equal where shapes are, resized as open_clip resizes them where tokens differ."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
from open_clip.model import resize_text_pos_embed

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.files import sha256_file
from clipsieve.schemas.models import WEIGHTS_NAME, save_model
from clipsieve.schemas.options import TrainOptions
from clipsieve.training.initial import fit_text_positions, initial_digest, initial_model, refuse_untrained_lock
from clipsieve.training.strategies.registry import fit_tower
from clipsieve.training.towers.tower import Tower, build_model, load_tower


@pytest.fixture
def tower(tower_file):
    return load_tower(tower_file)


@pytest.fixture
def trained(tower, tmp_path):
    """A model folder of the tiny tower."""
    torch.manual_seed(3)
    save_model(str(tmp_path / "trained"), build_model(tower), tower.model_cfg, tower.preprocess_cfg)
    return str(tmp_path / "trained")


def states(trained, tower):
    theirs, _, _ = open_clip.create_model_and_transforms(f"local-dir:{trained}")
    return theirs.state_dict(), initial_model(tower, trained).state_dict()


def test_equal_towers_have_equal_weights(trained, tower):
    before, after = states(trained, tower)
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())


@pytest.mark.parametrize("options", [{"image_size": 48}, {"image_size": 8}, {"context_length": 16}])
def test_positions_are_resized_as_open_clip_does(trained, tower, options):
    resized = fit_tower(tower, TrainOptions(**options))
    before, after = states(trained, resized)
    forced = {f"force_{name}": value for name, value in options.items()}
    theirs, _, _ = open_clip.create_model_and_transforms(f"local-dir:{trained}", **forced)
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(after[name], tensor, msg=name)
    changed = [name for name in before if before[name].shape != after[name].shape]
    assert changed == ["visual.positional_embedding" if "image_size" in options else "positional_embedding"]


def test_fewer_text_tokens_keep_the_places_of_those_that_are_left(trained, tower):
    before, after = states(trained, fit_tower(tower, TrainOptions(context_length=5)))
    assert torch.equal(after["positional_embedding"], before["positional_embedding"][:5])


def test_text_positions_are_stretched_as_open_clip_does(tower):
    model, positions = build_model(fit_tower(tower, TrainOptions(context_length=11))), torch.randn(4, 32)
    state = {"positional_embedding": positions}
    resize_text_pos_embed(state, model)
    torch.testing.assert_close(fit_text_positions(positions, 11), state["positional_embedding"])
    assert torch.equal(fit_text_positions(positions, 4), positions)


def test_fixed_positions_are_those_of_the_towers_own_grid(tower, tmp_path):
    """Sines and cosines of another grid are not a stretched table: the tower computes its own."""
    fixed = changed(tower, "vision_cfg", pos_embed_type="sin_cos_2d")
    first = build_model(fixed)
    save_model(str(tmp_path / "first"), first, fixed.model_cfg, fixed.preprocess_cfg)
    larger = fit_tower(fixed, TrainOptions(image_size=32))
    new = build_model(larger).visual.positional_embedding
    model = initial_model(larger, str(tmp_path / "first"))
    assert torch.equal(model.visual.positional_embedding, new)
    assert not model.visual.positional_embedding.requires_grad
    assert torch.equal(model.text_projection, first.text_projection)

    learned = initial_model(tower, str(tmp_path / "first")).visual.positional_embedding
    assert torch.equal(learned, first.visual.positional_embedding) and learned.requires_grad


def test_a_bias_that_only_one_of_the_losses_learns_stays_new_or_is_left_out(trained, tower, tmp_path):
    siglip = fit_tower(tower, TrainOptions(strategy="siglip"))
    model = initial_model(siglip, trained)
    assert model.logit_bias.item() == -10.0
    save_model(str(tmp_path / "siglip"), model, siglip.model_cfg, siglip.preprocess_cfg)
    assert initial_model(tower, str(tmp_path / "siglip")).logit_bias is None


def test_the_digest_is_that_of_the_weights(trained, tmp_path):
    assert initial_digest(trained) == sha256_file(f"{trained}/{WEIGHTS_NAME}")
    assert initial_digest(f"open_clip:RN50@{trained}/{WEIGHTS_NAME}") == initial_digest(trained)
    with pytest.raises(InputError, match=r"nowhere/.*: no such file"):
        initial_digest(str(tmp_path / "nowhere"))


def changed(tower, half, **settings):
    other = copy.deepcopy(tower)
    other.model_cfg[half] |= settings
    return Tower("other", other.model_cfg, other.preprocess_cfg)


@pytest.mark.parametrize(
    ("half", "settings", "reason"),
    [
        ("vision_cfg", {"layers": 2}, r"its weights are not those of tower 'other': visual.*resblocks.1.* is missing"),
        ("vision_cfg", {"patch_size": 4}, r"visual.conv1.weight is \[32, 3, 8, 8\], not \[32, 3, 4, 4\]"),
        ("text_cfg", {"vocab_size": 700}, "its tokenizer is not that of tower 'other'; give the same `tokenizer`"),
        ("text_cfg", {"tokenizer_kwargs": {"clean": "canonicalize"}}, "its tokenizer is not that of tower 'other'"),
    ],
)
def test_another_architecture_or_tokenizer_is_refused(trained, tower, half, settings, reason):
    with pytest.raises(InputError, match=rf"`initial` {trained}: .*{reason}"):
        initial_model(changed(tower, half, **settings), trained)


def test_a_locked_tower_needs_trained_weights(trained, tower):
    locked = TrainOptions(lock_image=True)
    with pytest.raises(InputError, match=r"`lock_image` needs a trained image tower, and .* are random: set `initial`"):
        refuse_untrained_lock(tower, locked)
    refuse_untrained_lock(tower, TrainOptions())
    refuse_untrained_lock(tower, TrainOptions(lock_image=True, initial=trained))
    refuse_untrained_lock(changed(tower, "vision_cfg", timm_model_pretrained=True), locked)
