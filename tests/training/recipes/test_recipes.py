"""The papers' experiments as recipes: each is valid, and what the papers state stands in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsieve import recipes
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.files import sha256_file
from clipsieve.schemas.manifest import read_manifest
from clipsieve.schemas.models import load_model
from clipsieve.schemas.recipe import load_recipe
from clipsieve.schemas.sizes import parse_size
from clipsieve.training.cost.dry_run import dry_run
from clipsieve.training.strategies.registry import fit_tower
from clipsieve.training.towers.tower import load_tower

FOLDER = Path(__file__).parents[3] / "training" / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
ROWS = {
    "scaling_down_data_quantity": 25,
    "scaling_down_data_quality": 9,
    "scaling_down_vits": 65,
    "scaling_down_architectures": 65,
    "scaling_down_strategies": 52,
    "scaling_down_augmentation": 16,
    "clipa": 6,
    "clipa_v2": 6,
    "flip": 6,
    "slip": 6,
}
# run: image tokens less the class token, text tokens, batch, peak rate, warm-up, samples in millions (CLIPA's tables)
CLIPA = {
    "clipa/b16-pretrain": (49, 16, 65_536, 2.048e-3, 782, 2_400),
    "clipa/l16-16-tokens-pretrain": (16, 16, 32_768, 1.024e-3, 1_563, 2_400),
    "clipa/l16-36-tokens-pretrain": (36, 8, 32_768, 1.024e-3, 1_563, 2_400),
    "clipa/b16": (196, 16, 8_192, 2.56e-5, 3_072, 131),
    "clipa/l16-16-tokens": (196, 16, 7_168, 2.24e-5, 3_571, 131),
    "clipa/l16-36-tokens": (196, 32, 7_168, 2.24e-5, 3_571, 131),
    "clipa_v2/h14-36-tokens-pretrain": (36, 8, 65_536, 2.048e-3, 3_200, 12_800),
    "clipa_v2/h14-25-tokens-pretrain": (25, 8, 65_536, 2.048e-3, 3_200, 12_800),
    "clipa_v2/h14-36-tokens-224": (int(256 * 0.7), 32, 32_768, 5.12e-5, 800, 524),
    "clipa_v2/h14-36-tokens-336": (int(576 * 0.6), 32, 16_384, 6.4e-6, 1_600, 131),
}


def runs(name):
    return {run.name: run for run in load_recipe(FOLDER / f"{name}.yaml").train}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_trains_what_it_selects(name):
    recipe = load_recipe(FOLDER / f"{name}.yaml")
    assert len(recipe.train) == ROWS[name]
    select = recipe.select
    there = {f"top{cut:g}" for cut in select.fractions} | {str(size) for size in select.sizes} if select else set()
    for run in recipe.train:
        assert fit_tower(load_tower(run.tower), run.options()).model_cfg["text_cfg"]["vocab_size"] == 32_000
        assert run.warmup_steps < run.samples // run.batch_size
        assert run.subset is None or run.subset in there or str(parse_size(str(run.subset))) in there


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("scaling")])
def test_scaling_down_trains_as_the_paper_says(name):
    for run in runs(name).values():
        assert (run.optimizer, run.betas, run.learning_rate, run.weight_decay) == (
            "adafactor",
            (0.9, 0.999),
            1e-3,
            1e-4,
        )
        assert run.batch_size == (32_768 if run.image_mask == "random" else 16_384)


@pytest.mark.parametrize("place, row", CLIPA.items())
def test_clipas_rows_are_its_tables(place, row):
    name, run_name = place.split("/")
    tokens, text_tokens, batch, rate, warmup, millions = row
    run = runs(name)[run_name]
    worked_out = dry_run(run.options(), 256)
    assert (worked_out.image_tokens, worked_out.text_tokens) == (1 + tokens, text_tokens)
    assert (run.batch_size, run.warmup_steps, run.samples) == (batch, warmup, millions * 10**6)
    assert run.peak_learning_rate == pytest.approx(rate)
    assert (run.optimizer, run.betas, run.weight_decay) == ("adamw", (0.9, 0.95), 0.2)


@pytest.mark.parametrize(
    "train, reason",
    [
        ([{"name": "a", "initial": "b"}, {"name": "b"}], "train a: its initial run 'b' has to stand before it"),
        ([{"name": "a", "initial": "a"}], "train a: its initial run 'a' has to stand before it"),
        ([{"name": "a"}, {"name": "a"}], "two training runs have one name"),
        ([{"name": "a", "canonicalize": True}], "train a: the recipe's tokenizer says the run's tokenizer and canon"),
    ],
)
def test_runs_that_cannot_follow_one_another_are_refused(tmp_path, train, reason):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"pairs": "x", "train": train, "tokenizer": {"vocab_size": 20}}))
    with pytest.raises(InputError, match=reason):
        load_recipe(path)


def manifest_of(folder):
    manifest = read_manifest(folder)
    assert manifest and manifest.complete
    return manifest


def test_a_run_goes_on_from_the_one_above_with_more_tokens(shards, tower_file, tmp_path):
    """CLIPA in small: a tokenizer of the pool, a run on few tokens, and one on all of them from its weights."""
    (tmp_path / "shards").symlink_to(shards)
    run = {"tower": tower_file, "samples": 96, "batch_size": 12, "warmup_steps": 1}
    short = {**run, "name": "short", "image_size": 8, "context_length": 4}
    content: dict[str, Any] = {"pairs": "x", "tokenizer": {"vocab_size": 22, "canonicalize": True}}
    content["train"] = [short, {**run, "name": "full", "initial": "short"}]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    for _ in range(2):  # the second finds all done
        assert len(list(recipes.run(load_recipe(path), str(tmp_path)))) == 3
    short_folder, folder = (str(tmp_path / "models" / name) for name in ("short", "full"))
    manifest, before, tokenizer = (manifest_of(made) for made in (folder, short_folder, str(tmp_path / "tokenizer")))
    assert manifest.inputs["initial"] == before.digest
    assert sha256_file(f"{folder}/spiece.model") == manifest.inputs["tokenizer"] == tokenizer.digest
    loaded = load_model(folder)
    assert loaded.tokenizer(["A RED square!"]).tolist() == loaded.tokenizer(["a red square"]).tolist()

    card = Path(folder, "README.md").read_text("utf-8")
    for said in (*manifest.inputs.values(), manifest.digest, "every downloaded pair: 46 pairs, 96 samples seen in 8"):
        assert said in card
    assert f"| parameters | {sum(p.numel() for p in loaded.model.parameters()):,} |" in card
