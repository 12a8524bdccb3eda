"""The table of stages, and that all that goes through a run's folders goes by it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clipsieve import recipes
from clipsieve.pipelines.takedown import close
from clipsieve.pipelines.verify import job as verify
from clipsieve.pipelines.verify.job import CHECKS
from clipsieve.schemas import manifest, stages
from clipsieve.schemas.counts import Counts
from clipsieve.schemas.options import Options
from clipsieve.schemas.recipe import Recipe
from clipsieve.schemas.run import gather, read_run
from clipsieve.schemas.stages import STAGES, Holds, Output, Stage, stage_of

ROOT = Path(__file__).parents[2]


def test_data_flows_down_the_table() -> None:
    order = list(STAGES)
    for stage in STAGES.values():
        for source in stage.made_from:
            assert all(order.index(name) < order.index(stage.name) for name in source.stages)
    names = stages.output_names()
    assert len(set(names)) == len(names)


def test_options_tell_their_stage() -> None:
    for stage in STAGES.values():
        assert stage_of(stage.options()) is stage


def test_a_recipe_has_the_stages_in_their_order_and_runs_each() -> None:
    sources = ("pairs", "shards", "pictures")
    fields = [name for name in Recipe.model_fields if name not in (*sources, "opt_out", "jobs", "report")]
    assert fields == list(STAGES) == list(recipes.RUNNERS)
    for name, stage in STAGES.items():
        assert any(issubclass(kind, stage.options) for kind in _models(Recipe.model_fields[name].annotation)), name


def _models(annotation: object) -> list[type]:
    inner = getattr(annotation, "__args__", ())
    return [annotation] if isinstance(annotation, type) and not inner else [m for each in inner for m in _models(each)]


def test_verify_and_takedown_know_each_stage() -> None:
    assert list(CHECKS) == list(STAGES)
    with_pairs = [name for name, stage in STAGES.items() if stage.outputs[0].holds.has_pairs]
    # Of `download` and `pack` a takedown keeps the rows, and of `index` it touches nothing (takedown/foreign.py).
    assert ["download", "index", "pack", *close.COUNTS] == with_pairs


def _rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading row."""
    lines = text[text.index(heading) :].splitlines()[2:]
    end = next(number for number, line in enumerate(lines) if not line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[:end]]


def test_architecture_s_table_of_folders_is_this_one() -> None:
    found = _rows((ROOT / "ARCHITECTURE.md").read_text("utf-8"), "| folder | written by | what it holds |")
    expected = [
        [f"`{output.shown}`", f"`{stage.name}`", output.description]
        for stage in STAGES.values()
        for output in stage.outputs
    ]
    report = ["`report/index.html`", "`report`", "all of it, to look at"]
    assert found == [*expected, report]


def test_readme_names_each_stage() -> None:
    """Each in the example or in the table of what there is more, so that none is without a place in the docs."""
    text = (ROOT / "README.md").read_text("utf-8")
    missing = [name for name in STAGES if not re.search(rf"(clipsieve |^\| `){name}\b", text, re.MULTILINE)]
    assert not missing


class ToyOptions(Options):
    """A stage that is made for this test."""


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage("toy", ToyOptions, (Output("toys", Holds.LEARNT, Counts, "toys", is_parent=True),))
    monkeypatch.setattr(stages, "STAGES", STAGES)
    monkeypatch.setitem(STAGES, "toy", stage)
    return stage


def test_a_stage_that_is_added_is_found_in_a_run(toy: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "toys" / "first"
    begun = manifest.begin(str(folder), ToyOptions(), {"shards": "ab"})
    done = manifest.finish(str(folder), begun, Counts(), "cd")
    (made,) = read_run(str(tmp_path)).made
    assert (made.name, made.manifest, made.stage, made.output) == ("toys/first", done, toy, toy.outputs[0])
    assert read_run(str(tmp_path)).holding(Holds.LEARNT) == [made] and read_run(str(tmp_path)).with_pairs == []
    assert done.trained_on() is not None
    gather(str(tmp_path))
    assert '"toys/first"' in (tmp_path / "manifest.json").read_text()
    with pytest.raises(KeyError, match="toy"):
        verify.run(str(tmp_path))
