"""The configurations that come with clipsieve, and what is said of those that do not."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.models import save_model
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.tokenizer import tokenizer_for
from clipsieve.training.cost.towers import towers_table
from clipsieve.training.strategies.registry import fit_tower
from clipsieve.training.towers.tower import Tower, build_model, load_tower, tower_names

PAPER_GMACS = {
    "vit-ti-16": 1.25,
    "vit-s-16": 4.6,
    "vit-b-32": 4.41,
    "vit-b-16": 17.6,
    "vit-l-16": 61.6,
    "vit-h-14": 167,
    "resnet-50": 4.1,
    "convnext-t": 4.5,
    "swin-t": 4.5,
    "mixer-b-32": 3.2,
}
CAPTIONS = ["a red square", "zebra ☃", ""]


def reduced(tower):
    """The tower with its widths, its heads and its kind of layers, but one of them.

    ViTs have one layer and four patches a side. What timm builds is whole, for its depth and size cannot be told, but a
    ViT: there is a tiny one.
    """
    model_cfg, preprocess_cfg = copy.deepcopy((tower.model_cfg, tower.preprocess_cfg))
    vision = model_cfg["vision_cfg"]
    if "timm_model_name" not in vision:
        vision["layers"] = 1
        vision["image_size"] = preprocess_cfg["size"] = 4 * vision["patch_size"]
    elif vision["timm_model_name"].startswith("vit_"):
        vision["timm_model_name"] = "vit_tiny_patch16_224"
    model_cfg["text_cfg"] |= {"layers": 1, "vocab_size": 600}
    return Tower(tower.name, model_cfg, preprocess_cfg)


@pytest.mark.parametrize("name", tower_names())
def test_every_tower_learns_and_is_loaded_by_open_clip(name, tmp_path):
    """Forward, a backward pass that reaches every weight, an update, an export, and open_clip's reading of it."""
    tower = reduced(load_tower(name))
    torch.manual_seed(0)
    model = build_model(tower)
    tokens = tokenizer_for(tower.model_cfg["text_cfg"])(CAPTIONS)
    assert tokens.max() < tower.model_cfg["text_cfg"]["vocab_size"]
    images = torch.rand(3, 3, tower.image_size, tower.image_size)
    image, text, scale = model(images, tokens)
    assert image.shape == text.shape == (3, tower.model_cfg["embed_dim"])
    torch.nn.functional.cross_entropy(scale * image @ text.T, torch.arange(3)).backward()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert [n for n, p in trained.items() if p.grad is None or not p.grad.isfinite().all()] == []
    torch.optim.SGD(model.parameters(), 0.01).step()

    save_model(str(tmp_path), model, tower.model_cfg, tower.preprocess_cfg)
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    assert preprocess(Image.new("RGB", (90, 60))).shape == (3, tower.image_size, tower.image_size)
    with torch.no_grad():
        ours = model.eval()(images, tokens)
        for mine, other in zip(ours, theirs.eval()(images, tokens), strict=True):
            torch.testing.assert_close(mine, other)


@pytest.fixture(scope="module")
def table():
    return towers_table()


@pytest.mark.parametrize("name, gmacs", PAPER_GMACS.items())
def test_a_towers_cost_is_the_papers(table, name, gmacs):
    (row,) = [line.split(" | ") for line in table.splitlines() if line.startswith(f"| {name} ")]
    assert float(row[6]) == pytest.approx(gmacs, rel=0.02)
    assert float(row[7].removesuffix(" |")) == pytest.approx(1.36, rel=0.02)


def test_the_table_of_the_documentation_is_what_the_command_prints(table):
    assert table in (Path(__file__).parents[3] / "docs" / "towers.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["swin-t", "mixer-b-32"])
def test_an_image_size_that_is_built_into_a_tower_is_kept(name):
    tower = fit_tower(load_tower(name), TrainOptions(image_size=112))
    with pytest.raises(InputError, match=rf"tower '{name}': .* takes images of 224 px alone, not of 112; take"):
        build_model(tower)


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
    with pytest.raises(InputError, match=r"`tower` 'vit-tiny-65': neither a file nor one of .*vit-tiny-64"):
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
