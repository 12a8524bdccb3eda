"""The losses of ten steps of each strategy against those that were written down (golden/make.py)."""

from __future__ import annotations

import json

import pytest

from tests.training.golden.make import FOLDER, MADE, RECIPES, losses_of

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("name", RECIPES)
def test_a_strategys_losses_are_those_of_before(name):
    """Within the tolerance of golden/made.json, which tells what the losses depend on."""
    tolerance = json.loads(MADE.read_text())["tolerance"]
    golden = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]
    ours = losses_of(FOLDER / "tower.json", RECIPES[name])
    assert len(ours) == len(golden) == 10
    for step, (now, before) in enumerate(zip(ours, golden, strict=True)):
        assert now == pytest.approx(before, rel=tolerance), step
