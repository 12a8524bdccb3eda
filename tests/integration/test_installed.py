"""The installed wheel in a project's folder that has ``training/``, ``pipelines/`` and their like of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsieve.schemas.models import WEIGHTS_NAME
from tests.integration.conftest import Source
from tests.integration.installed import Installed, lay_traps


def test_the_whole_chain_runs_there(installed: Installed, small_run: Path) -> None:
    """`small_run` is made by the installed command in that folder, by several worker processes."""
    checked = installed.run("clipsieve", "verify", str(small_run))
    assert (checked.returncode, checked.stderr) == (0, "")


def test_import_finds_the_wheel(installed: Installed, tmp_path: Path) -> None:
    """Where the working directory is first on the path, as in a notebook."""
    names = ("pipelines.select.thresholds", "training.data.order", "evaluation.statistics.paired", "schemas.uid")
    imports = "; ".join(f"import clipsieve.{name}" for name in names)
    script = f"import sys; assert sys.path[0] == ''; {imports}; print(clipsieve.schemas.uid.__file__)"
    done = installed.run("python", "-c", script, cwd=lay_traps(tmp_path / "project"))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed.bin.parent)


def test_nothing_is_installed_beside_the_one_package(installed: Installed) -> None:
    (packages,) = installed.bin.parent.glob("lib/python*/site-packages")
    ours = {path.name for path in packages.iterdir() if not path.name.endswith((".dist-info", ".pth"))}
    assert ours == {"clipsieve"}


def test_torchrun_starts_two_processes(installed: Installed, source: Source, small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    training = ["--tower", str(source.tower), "--samples", "64", "--batch-size", "16", "--warmup-steps", "1"]
    launcher = ["torchrun", "--standalone", "--nproc-per-node", "2", "--no-python", "clipsieve"]
    done = installed.run(*launcher, "train", "--shards", str(small_run / "shards"), "--out", str(out), *training)
    assert done.returncode == 0, done.stderr
    assert (out / WEIGHTS_NAME).is_file()


@pytest.mark.parametrize("name", ["pipelines", "random"])
def test_the_traps_are_set(installed: Installed, name: str) -> None:
    """The folder does end a Python that imports from it, as workers once did."""
    done = installed.run("python", "-c", f"import {name}")
    assert done.returncode != 0
    assert "a module of the working directory was imported" in done.stderr
