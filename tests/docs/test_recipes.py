"""Every recipe of the documents, whole or a part of one, is one that `clipsieve run` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.recipe import Recipe, TrainStage, load_recipe
from tests.docs.documents import DOCUMENTS, blocks, inline

TEXTS = {path.name: path.read_text("utf-8") for path in DOCUMENTS}
BLOCKS = [(name, block) for name, text in TEXTS.items() for block in blocks(text, "yaml")]


def _mappings(code: str) -> dict[str, Any]:
    """What inline code says as YAML, where it is a mapping."""
    try:
        found = yaml.safe_load("{" + code + "}")
    except yaml.YAMLError:
        return {}
    return {name: value for name, value in found.items() if value is not None} if isinstance(found, dict) else {}


INLINE = [
    (name, mapping)
    for name, text in TEXTS.items()
    for mapping in map(_mappings, inline(text))
    if mapping and mapping.keys() <= {*Recipe.model_fields, *TrainStage.model_fields}
]


def load(content: dict[str, Any], folder: Path) -> Recipe:
    """Load ``content`` as `clipsieve run` does; what a part of a recipe leaves out is added."""
    path = folder / "recipe.yaml"
    if not content.keys() <= Recipe.model_fields.keys():
        content = {"train": [{"name": "a", **content}]}
    if not content.keys() & {"pairs", "shards", "pictures"}:
        content = {"pairs": "pairs.parquet", **content}
    path.write_text(yaml.safe_dump(content))
    return load_recipe(path)


@pytest.mark.parametrize(("where", "text"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_a_written_recipe_is_one(where: str, text: str, tmp_path: Path) -> None:
    load(yaml.safe_load(text), tmp_path)


@pytest.mark.parametrize(("where", "mapping"), INLINE, ids=[f"{name} {list(mapping)}" for name, mapping in INLINE])
def test_a_written_part_of_a_recipe_is_one(where: str, mapping: dict[str, Any], tmp_path: Path) -> None:
    load(mapping, tmp_path)


def test_the_mixture_of_the_training_page_is_read() -> None:
    assert ("training.md", {"subset": {"top20": 0.7, "top80": 0.3}}) in INLINE


def test_a_mixture_as_a_list_is_refused_with_the_form_it_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.0\.subset: several subsets are .*\{top20: 0\.7, top80: 0\.3\}"):
        load({"subset": ["top20=0.7", "top80=0.3"]}, tmp_path)
