"""JSON without NaN and Infinity, and Python's own wherever there is neither."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.schemas import strict_json

REPOSITORY = Path(__file__).parents[2]
PYTHONS_OWN = {
    "pipelines/pairs/json_rows.py",  # a value of a table's row, as the text of a column
    "schemas/models.py",  # what a digest is of
    "schemas/strict_json.py",
    "training/towers/tower.py",  # what a digest is of
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def refuse(name: str) -> Any:
    raise ValueError(name)


def with_nulls(value: Any) -> Any:
    """By way of the text: Python reads what it writes for such numbers."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


@given(VALUES)
def test_any_value_is_strict_json_with_null_for_what_is_no_number(value: Any) -> None:
    assert json.loads(strict_json.dumps(value), parse_constant=refuse) == with_nulls(value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, float("1e999"), -float("nan")])
def test_numbers_that_are_not_finite_are_null(number: float) -> None:
    assert strict_json.dumps({"a": number, "b": [(number, 1.5)]}) == '{"a": null, "b": [[null, 1.5]]}'


@given(VALUES)
def test_options_are_those_of_json(value: Any) -> None:
    value = with_nulls(value)
    for options in ({}, {"indent": 1}, {"ensure_ascii": False}, {"sort_keys": True}, {"default": str}):
        assert strict_json.dumps(value, **options) == json.dumps(value, **options)


def test_nothing_else_writes_json() -> None:
    found = set()
    roots = [REPOSITORY / name for name in ("pipelines", "training", "evaluation", "schemas")]
    for path in (path for root in roots for path in root.rglob("*.py")):
        nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)]
        if {"json.dumps", "json.dump"} & {ast.unparse(node) for node in nodes}:
            found.add(str(path.relative_to(REPOSITORY)))
    assert found == PYTHONS_OWN
