"""The losses of ten steps of each strategy against those that were written down (golden/make.py)."""

from __future__ import annotations

import json

import pytest

from tests.training.golden.make import FOLDER, RECIPES, losses_of


@pytest.mark.parametrize("name", RECIPES)
def test_a_strategys_losses_are_those_of_before(name):
    """Within 1e-3 of a loss: what other processors and versions of torch, PIL and torchvision round otherwise."""
    golden = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]
    ours = losses_of(FOLDER / "tower.json", RECIPES[name])
    assert len(ours) == len(golden) == 10
    for step, (now, before) in enumerate(zip(ours, golden, strict=True)):
        assert now == pytest.approx(before, rel=1e-3), step
