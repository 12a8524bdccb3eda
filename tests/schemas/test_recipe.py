import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.options import PackOptions, SelectOptions, TrainOptions, parse_combination, parse_options
from clipsieve.schemas.recipe import PackStage, Recipe, load_recipe
from clipsieve.schemas.sizes import parse_size, size_name


@pytest.mark.parametrize(
    ("size", "name"),
    [
        (250, "250"),
        (1500, "1500"),
        (10_000_000, "10M"),
        (25_000_000, "25M"),
        (10**9, "1B"),
        (3_400_000_000, "3.4B"),
    ],
)
def test_sizes_are_named_as_in_the_paper(size, name):
    assert size_name(size) == name


@given(st.integers(1, 2 * 10**10))
def test_a_size_is_its_names_own(size):
    assert parse_size(size_name(size)) == size


@pytest.mark.parametrize("text", ["", "10m", "-5", "1.5", "0.0000001M", "1e6"])
def test_a_size_that_is_no_whole_number_is_refused(text):
    with pytest.raises(ValueError, match="whole number of pairs"):
        parse_size(text)


def test_fractions_are_sorted_and_distinct():
    assert SelectOptions(fractions=(80, 20, 20)).fractions == (20, 80)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pairs: a\nscore: {referense: builtin}", "score.referense"),
        ("pairs: a\nselect: {fractions: [120]}", "select.fractions.0"),
        ("score: {}", "pairs"),
        ("[1, 2]", "mapping of stages"),
        ("pairs: [", "not YAML"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line_that_names_file_and_field(tmp_path, text, complaint):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "content", "complaint"),
    [
        (
            TrainOptions,
            {"strategy": "slip"},
            "x: `strategy` slip compares crops: set `augment` to crop (the paper's) or another that crops",
        ),
        (
            TrainOptions,
            {"strategy": "sieve"},
            "x: strategy: Input should be 'clip', 'siglip' or 'slip' (got 'sieve')",
        ),
        (
            Recipe,
            {"pairs": "p", "train": [{"name": "a", "strategy": "slip"}]},
            "x: train.0: `strategy` slip compares crops: set `augment` to crop (the paper's) or another that crops",
        ),
        (
            SelectOptions,
            {"fractions": [0.125]},
            "x: fractions: a fraction has at most two decimals, not 0.125 (got [0.125])",
        ),
    ],
)
def test_what_is_refused_is_said_without_all_the_other_options(model, content, complaint):
    with pytest.raises(InputError) as caught:
        parse_options(model, content, "x")
    assert str(caught.value) == complaint


def test_paths_of_a_recipe_are_looked_up_beside_it(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("pairs: a/p.parquet\nopt_out: /lists/no.txt\n")
    recipe = load_recipe(path)
    assert (recipe.pairs, recipe.opt_out) == (str(tmp_path / "a" / "p.parquet"), "/lists/no.txt")
    path.write_text("pairs: gs://bucket/p.parquet\n")
    recipe = load_recipe(path)
    assert (recipe.pairs, recipe.opt_out) == ("gs://bucket/p.parquet", None)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({}, "names `pairs`, `shards` or `pictures`, one of them"),
        ({"pairs": "p", "pictures": "photos"}, "names `pairs`, `shards` or `pictures`, one of them"),
        (
            {"shards": ["s"], "pack": {}},
            "`download` goes with `pairs`, `index` with `shards`, and `pack` with `pictures`",
        ),
        ({"pictures": "photos", "download": {}}, "`download` goes with `pairs`"),
    ],
)
def test_a_recipe_has_one_source(content, complaint):
    with pytest.raises(InputError, match=re.escape(complaint)):
        parse_options(Recipe, content, "test")


def test_pictures_and_their_root_are_looked_up_beside_a_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("pictures: photos.csv\n")
    recipe = load_recipe(path)
    assert (recipe.pictures, recipe.pack) == (str(tmp_path / "photos.csv"), PackStage())
    path.write_text("pictures: photos.csv\npack: {root: .., image_size: 64}\n")
    pack = load_recipe(path).pack
    assert pack == PackStage(root=str(tmp_path / ".."), image_size=64)
    assert pack is not None and pack.options() == PackOptions(image_size=64)


def test_a_recipe_without_stages_runs_none():
    recipe = parse_options(Recipe, {"pairs": "pairs.parquet"}, "test")
    assert (recipe.download, recipe.train, recipe.report) == (None, (), False)


def test_combinations_are_named_alike_however_they_are_written():
    options = SelectOptions(combinations=("top40.0_1000K", "top5.25_300", "top40_1M"))
    assert options.combinations == ("top5.25_300", "top40_1M")
    assert [parse_combination(name) for name in options.combinations] == [(5.25, 300), (40.0, 1_000_000)]


@pytest.mark.parametrize("text", ["top0_5", "top101_5", "top40", "40_5", "top40_0", "top40_1.5", "top1.234_5"])
def test_what_is_no_combination_is_refused(text):
    with pytest.raises(InputError, match=r"select: combinations: "):
        parse_options(SelectOptions, {"combinations": [text]}, "select")
