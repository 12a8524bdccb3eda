"""The papers' experiments as recipes: each is valid, and what the papers state stands in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsieve import recipes
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.files import sha256_file
from clipsieve.schemas.manifest import begin, read_manifest
from clipsieve.schemas.models import load_model
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.recipe import load_recipe
from clipsieve.schemas.sizes import parse_size
from clipsieve.schemas.training_data import WeightedSubset
from clipsieve.training import train
from clipsieve.training.cost.dry_run import dry_run, dry_runs
from clipsieve.training.job import inputs_of
from clipsieve.training.strategies.registry import fit_tower
from clipsieve.training.towers.tower import load_tower
from clipsieve.training.twins import content_key, find_twin, take_twin

FOLDER = Path(__file__).parents[3] / "training" / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
ROWS = {
    "scaling_down_data_quantity": 30,
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
DEVICES = 64
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
        pieces = recipe.tokenizer.vocab_size if recipe.tokenizer else 49_408
        assert fit_tower(load_tower(run.tower), run.options()).model_cfg["text_cfg"]["vocab_size"] == pieces
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
    worked_out = dry_run(run.options(), DEVICES)
    assert (worked_out.image_tokens, worked_out.text_tokens) == (1 + tokens, text_tokens)
    assert (run.batch_size, run.warmup_steps, run.samples // 10**6) == (batch, warmup, millions)
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


def test_the_runs_that_stand_in_several_studies_are_of_one_content():
    """The 13 of CLIP with B/32 stand in figures 8 to 19: three times, and twice too often."""
    keys = []
    for name in ("scaling_down_vits", "scaling_down_architectures", "scaling_down_strategies"):
        for run in runs(name).values():
            subsets = [WeightedSubset(name="", path=None, digest=subset) for subset, _ in run.weighted_subsets()]
            keys.append(content_key(run.options(), {}, subsets))
    assert (len(keys), len(set(keys))) == (182, 182 - 2 * 13)


@pytest.mark.parametrize("name", RECIPES)
def test_every_run_of_the_papers_is_worked_out(name):
    worked_out = dry_runs({run.name: run.options() for run in runs(name).values()}, DEVICES)
    assert worked_out.keys() == runs(name).keys()
    for run in worked_out.values():
        assert run.steps > 0 and run.memory.checkpointed < run.memory.activations


def test_clipas_runs_fit_its_authors_gpus():
    """Eight of 80 GB, with the activation checkpointing of their scripts, and not without."""
    options = runs("clipa")["b16-pretrain"].options()
    memory = dry_run(options, 8).memory
    assert options.checkpoint_activations
    assert memory.total(True) < 80e9 < memory.total(False)


def test_equal_runs_of_one_folder_are_trained_once(shards, tower_file, tmp_path, capsys):
    """Rows of one recipe and of another: a row that has another name and the same content takes its files."""
    (tmp_path / "shards").symlink_to(shards)
    run = {"tower": tower_file, "samples": 48, "batch_size": 12, "warmup_steps": 1}
    first = [{**run, "name": "a"}, {**run, "name": "b", "log_steps": 3}, {**run, "name": "other", "seed": 1}]
    for name, rows in (("first", first), ("second", [{**run, "name": "c"}])):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"pairs": "x", "train": rows}))
        assert len(list(recipes.run(load_recipe(path), str(tmp_path)))) == len(rows)

    said = capsys.readouterr().err
    assert [said.count(f"models/{name}: equal to ") for name in ("a", "b", "c", "other")] == [0, 1, 1, 0]
    folders = {name: tmp_path / "models" / name for name in ("a", "b", "c", "other")}
    made = {name: manifest_of(str(folder)) for name, folder in folders.items()}
    assert made["b"].digest == made["c"].digest == made["a"].digest != made["other"].digest
    content = [{file.name: file.read_bytes() for file in folders[name].iterdir()} for name in ("a", "b", "c")]
    for copied in content[1:]:
        differ = {name for name in content[0].keys() | copied.keys() if content[0].get(name) != copied.get(name)}
        assert differ <= {"README.md", "manifest.json"}  # the ledger's hours, too, are those of the one training
    assert "# b\n" in Path(folders["b"], "README.md").read_text("utf-8")
    assert made["b"].options(TrainOptions).log_steps == 3
    load_model(str(folders["b"]))


def test_a_run_that_is_begun_goes_on_by_itself(shards, tower_file, tmp_path, alone):
    """What its checkpoint holds is not thrown away for a twin; one that is not finished is no twin."""
    options = TrainOptions(tower=tower_file, samples=48, batch_size=12, warmup_steps=1)
    tower = load_tower(tower_file)
    inputs = inputs_of(shards, tower, None, None)
    (tmp_path / "empty").mkdir()
    for name in ("a", "b"):
        begin(str(tmp_path / name), options, inputs)
    assert find_twin(str(tmp_path / "c"), options, inputs, []) is None
    train.run(shards, [], str(tmp_path / "a"), options)
    assert find_twin(str(tmp_path / "c"), options, inputs, []) == str(tmp_path / "a")
    assert take_twin(str(tmp_path / "b"), options, inputs, [], tower, alone) is None
    longer = options.model_copy(update={"samples": 60})
    assert find_twin(str(tmp_path / "c"), longer, inputs, []) is None
    assert find_twin(str(tmp_path / "c"), options, {**inputs, "shards": "0" * 64}, []) is None


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
