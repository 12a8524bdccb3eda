"""The configurations that come with clipsieve, and what is said of those that do not."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from schemas.errors import InputError
from schemas.tokenizer import tokenizer_for
from training.towers import build_model, load_tower, tower_names


@pytest.mark.parametrize("name", tower_names())
def test_every_tower_embeds_both_halves_of_a_pair_in_one_space(name):
    tower = load_tower(name)
    model = build_model(tower).eval()
    tokens = tokenizer_for(tower.model_cfg["text_cfg"])(["a red square", "zebra ☃", ""])
    assert tokens.max() < tower.model_cfg["text_cfg"]["vocab_size"]
    images = torch.zeros(3, 3, tower.image_size, tower.image_size)
    with torch.no_grad():
        image, text = model.encode_image(images), model.encode_text(tokens)
    assert image.shape == text.shape == (3, tower.model_cfg["embed_dim"])
    assert not torch.allclose(text[0], text[1])


def test_equal_seeds_give_equal_weights(tower_file):
    tower = load_tower(tower_file)
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(torch.cat([p.detach().flatten() for p in build_model(tower).parameters()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_a_digest_follows_the_content_not_the_name(tower_file, tmp_path):
    config = json.loads(Path(tower_file).read_text())
    (tmp_path / "same.json").write_text(json.dumps(config, indent=2))
    config["preprocess_cfg"]["mean"] = [0, 0, 0]
    (tmp_path / "other.json").write_text(json.dumps(config))
    digest = load_tower(tower_file).digest
    assert load_tower(str(tmp_path / "same.json")).digest == digest
    assert load_tower(str(tmp_path / "other.json")).digest != digest


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"tower 'vit-tiny-65': neither a file nor one of .*vit-tiny-64"):
        load_tower("vit-tiny-65")


def without(*keys):
    def change(config):
        for key in keys[:-1]:
            config = config[key]
        del config[keys[-1]]

    return change


@pytest.mark.parametrize(
    "change",
    [
        without("model_cfg"),
        without("preprocess_cfg"),
        without("model_cfg", "text_cfg"),
        without("model_cfg", "vision_cfg", "image_size"),
        without("preprocess_cfg", "mean"),
    ],
)
def test_a_configuration_that_lacks_a_key_is_refused(tower_file, tmp_path, change):
    config = json.loads(Path(tower_file).read_text())
    change(config)
    path = tmp_path / "tower.json"
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"tower.json: not a tower's configuration"):
        load_tower(str(path))


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content):
    path = tmp_path / "tower.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"tower.json: not a tower's configuration"):
        load_tower(str(path))


def test_sizes_that_contradict_each_other_are_refused(tower_file, tmp_path):
    config = json.loads(Path(tower_file).read_text())
    config["preprocess_cfg"]["size"] = 32
    path = tmp_path / "tower.json"
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"preprocess_cfg.size 32 is not vision_cfg.image_size 16"):
        load_tower(str(path))


def test_what_open_clip_cannot_build_is_refused(tower_file):
    tower = copy.deepcopy(load_tower(tower_file))
    tower.model_cfg["vision_cfg"]["colour"] = "red"
    with pytest.raises(InputError, match=r"open_clip cannot build model_cfg: .*colour"):
        build_model(tower)
