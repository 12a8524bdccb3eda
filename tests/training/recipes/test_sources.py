"""docs/sources.md says of every line of a recipe, and of every setting of its towers, what the authors have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsieve.schemas.recipe import load_recipe
from clipsieve.schemas.sizes import parse_size

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "sources.md").read_text("utf-8")
RECIPES = {path.stem: path for path in (ROOT / "training" / "recipes").glob("*.yaml")}
TOWERS = {run.tower for path in RECIPES.values() for run in load_recipe(path).train}
NOT_OF_THE_PAPER = {"name", "report", "evaluate.data"}
SOURCES = ("paper", "`big_vision/", "`flip/", "`CLIPA/", "`SLIP/")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Row:
    """A row of a table: what a line of the recipes or towers that it matches has, and whose value that is."""

    heading: str
    of: tuple[str, ...]
    option: str
    here: Any
    authors: str
    where: str

    def matches(self, name: str, option: str) -> bool:
        return option == self.option and any(fnmatchcase(name, pattern) for pattern in self.of)


def rows() -> Iterator[Row]:
    """Those whose option is one of ours."""
    heading = ""
    for line in PAGE.splitlines():
        if line.startswith("#"):
            heading = line
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 5 and cells[1].startswith("`"):
            of, option, here, authors, where = cells
            value = yaml.safe_load(here.strip("`"))
            yield Row(heading, tuple(_CODE.findall(of)), option.strip("`"), value, authors, where)


ROWS = list(rows())
OF_TOWERS = [row for row in ROWS if "Towers" in row.heading]


def of_recipe(name: str) -> list[Row]:
    return [row for row in ROWS if f"`{name}`" in row.heading]


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their path."""
    leaves: dict[str, Any] = {}
    for key, value in content.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def lines(recipe: str) -> Iterator[tuple[str, str, Any]]:
    """Every line of a recipe: the run's name (or ``recipe``), the option and its value."""
    content = yaml.safe_load(RECIPES[recipe].read_text("utf-8"))
    runs = {run["name"]: run for run in content.pop("train")}
    for name, said in {"recipe": content, **runs}.items():
        yield from ((name, option, value) for option, value in flat(said).items() if option not in NOT_OF_THE_PAPER)


def settings(tower: str) -> Iterator[tuple[str, str, Any]]:
    config = json.loads((ROOT / "training" / "towers" / f"{tower}.json").read_text("utf-8"))
    leaves = flat(config.pop("model_cfg")) | flat(config)
    yield from ((tower, option, value) for option, value in leaves.items())


def number(value: Any) -> Any:
    """A value as recipes and tables may write it: 12.8B, 1.0e-3, or a list."""
    if isinstance(value, list):
        return [number(part) for part in value]
    if isinstance(value, str) and re.fullmatch(r"[\d.]+[KMB]", value):
        return parse_size(value)
    return float(value) if isinstance(value, str) and re.fullmatch(r"[\d.]+e-?\d+", value) else value


def check(said: Iterator[tuple[str, str, Any]], table: list[Row]) -> tuple[list[str], set[int]]:
    """What the table lacks or has another value of, and the rows, by identity, that hold for some line."""
    wrong: list[str] = []
    used: set[int] = set()
    for name, option, value in said:
        matching = [row for row in table if row.matches(name, option)]
        if not matching:
            wrong.append(f"{name}: {option} is in no row")
        elif number(matching[-1].here) != number(value):
            wrong.append(f"{name}: {option} is {value!r}, in the table {matching[-1].here!r}")
        used |= {id(row) for row in matching[-1:]}
    return wrong, used


@pytest.mark.parametrize("name", RECIPES)
def test_every_line_of_a_recipe_is_in_the_table(name):
    assert check(lines(name), of_recipe(name))[0] == []


@pytest.mark.parametrize("name", sorted(TOWERS))
def test_every_setting_of_a_recipes_tower_is_in_the_table(name):
    assert check(settings(name), OF_TOWERS)[0] == []


def test_every_row_holds_for_some_line():
    used = set().union(*(check(lines(name), of_recipe(name))[1] for name in RECIPES))
    used |= set().union(*(check(settings(name), OF_TOWERS)[1] for name in TOWERS))
    assert [row for row in ROWS if id(row) not in used] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{' '.join(row.of)} {row.option}")
def test_a_row_has_the_authors_value_or_says_why_not(row):
    if row.authors.startswith("assumed"):
        assert row.where == ""
        return
    assert row.where.startswith(SOURCES)
    if not row.authors.startswith("differs: "):
        theirs = _CODE.match(row.authors)
        assert theirs and number(yaml.safe_load(theirs[1])) == number(row.here)


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_recipe_marks_as_assumed_is_what_no_source_says(name):
    known = {option.rpartition(".")[2] for _, option, _ in lines(name)}
    marked = set()
    for line in RECIPES[name].read_text("utf-8").splitlines():
        said, _, comment = line.partition("#")
        if "[assumed]" in comment:
            words = [set(re.findall(r"\w+", part)) & known for part in (comment, said)]
            marked |= words[0] or words[1]
    used = check(lines(name), of_recipe(name))[1]
    table = {row.option.rpartition(".")[2] for row in ROWS if id(row) in used and row.authors.startswith("assumed")}
    assert marked == table


def test_another_value_is_found():
    """The check itself, on a value that changed and on a line that was added."""
    changed = [(name, option, 1 if option == "warmup_steps" else value) for name, option, value in lines("slip")]
    wrong, _ = check(iter([*changed, ("clip-s16", "lock_image", True)]), of_recipe("slip"))
    names = [run.name for run in load_recipe(RECIPES["slip"]).train]
    expected = [f"{name}: warmup_steps is 1, in the table 3662" for name in names]
    assert wrong == [*expected, "clip-s16: lock_image is in no row"]
