"""Commands next to each other: their lines, their order, what fails, and what a signal does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from clipsieve import recipes
from clipsieve.schemas.errors import ClipsieveError
from clipsieve.schemas.manifest import present_manifest
from clipsieve.schemas.models import WEIGHTS_NAME
from clipsieve.schemas.options import TrainOptions
from clipsieve.schemas.recipe import load_recipe
from clipsieve.side_by_side import Invocation, run_side_by_side
from tests.commands import CLIPSIEVE
from tests.training.conftest import rows, shards, tower_file  # noqa: F401  fixtures


def task(name: str, *arguments: object, after: str | None = None) -> Invocation:
    return Invocation(name, tuple(map(str, arguments)), after)


def test_a_task_that_fails_stops_only_those_after_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tasks = [
        task("wrong", "verify", tmp_path / "none"),
        task("after", "towers", after="wrong"),
        task("later", "towers", after="after"),
        task("right", "compare", "--help"),
    ]
    expected = r"3 of 4 runs failed \(wrong: exit status 2; after: not begun, for wrong failed; later: not begun, for"
    with pytest.raises(ClipsieveError, match=expected):
        run_side_by_side(tasks, 1)
    out, err = capfd.readouterr()
    assert not out and re.fullmatch(rf"wrong: clipsieve: {tmp_path}/none: .*\n", err)


@pytest.fixture
def recipe(shards: str, tower_file: str, tmp_path: Path) -> Path:  # noqa: F811
    """Three small runs, of which one begins from another."""
    (tmp_path / "shards").symlink_to(shards)
    cell = {"tower": tower_file, "samples": 96, "batch_size": 12, "warmup_steps": 1, "log_steps": 1}
    cells = [{**cell, "name": name, "seed": seed} for seed, name in enumerate("ab")]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"pairs": "x", "train": [*cells, {**cell, "name": "c", "initial": "a"}]}))
    return path


def test_the_weights_do_not_depend_on_how_many_run_at_a_time(
    recipe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = []
    for jobs in (1, 3):
        out = tmp_path / str(jobs)
        out.mkdir()
        (out / "shards").symlink_to(tmp_path / "shards")
        chosen = load_recipe(recipe).model_copy(update={"jobs": jobs})
        assert len(list(recipes.run(chosen, str(out)))) == 3
        assert {present_manifest(str(out / "models" / name)).options(TrainOptions).threads for name in "abc"} == {1}
        made.append([(out / "models" / name / WEIGHTS_NAME).read_bytes() for name in "abc"])
        lines = capfd.readouterr().err.splitlines()
        assert {line.partition(": ")[0] for line in lines} == {"a", "b", "c"}
        assert sum(line.startswith("b: step 8/8  loss ") for line in lines) == 1
        assert len(list(recipes.run(chosen, str(out)))) == 3  # what is done starts no process
        assert not capfd.readouterr().err
    assert made[0] == made[1] and len({*made[0]}) == 3


def test_runs_that_train_alike_are_trained_once(
    recipe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(recipe.read_text())
    content["train"] = [*content["train"][:2], {**content["train"][1], "name": "b-again"}]
    recipe.write_text(yaml.safe_dump(content))
    assert len(list(recipes.run(load_recipe(recipe), str(tmp_path)))) == 3
    err = capfd.readouterr().err
    assert "b: step 8/8" in err and "b-again: step" not in err and "b-again: equal to" in err
    once, again = ((tmp_path / "models" / name / WEIGHTS_NAME).read_bytes() for name in ("b", "b-again"))
    assert once == again


def test_a_signal_ends_all_with_a_checkpoint_and_the_same_command_resumes(recipe: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(recipe.read_text())
    content["jobs"] = 2
    for cell in content["train"][:2]:
        cell["samples"] = 12_000
    recipe.write_text(yaml.safe_dump(content))
    command = [CLIPSIEVE, "run", str(recipe), "--out", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr
        begun: set[str] = set()
        said = []
        for line in process.stderr:
            said.append(line)
            name = line.partition(": step 3/")[0]
            if name in ("a", "b") and name not in begun:
                begun.add(name)
                if len(begun) == 2:
                    process.send_signal(signal.SIGINT)
    assert process.returncode == 128 + signal.SIGINT
    assert said[-1] == "clipsieve: stopped by SIGINT; run the same command again to resume\n"
    for name in "ab":
        assert list((tmp_path / "models" / name / "checkpoints").iterdir())
    assert not (tmp_path / "models" / "c").exists()
