"""clipsieve as a user has it: a wheel made from an sdist, installed into an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
NOT_COPIED = {".git", ".venv", ".venv-newest", "build", "dist", "quickstart-run"}
FOLDERS = ("pipelines", "training", "evaluation", "schemas")
"""Folders of these names are common in projects of this field."""
MODULES = ("random", "torch", "numpy", "recipes", "worker")
"""What Python would import from a hostile working directory, were it on the path."""
BOOBY_TRAP = 'raise SystemExit(f"{__file__}: a module of the working directory was imported")\n'


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a project's folder to work in that is full of colliding names."""

    bin: Path
    project: Path

    def run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in ``cwd``, by default the project's folder."""
        words = [str(self.bin / command[0]), *command[1:]]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        path = f"{self.bin}{os.pathsep}{clean['PATH']}"
        return subprocess.run(
            words, cwd=cwd or self.project, env={**clean, "PATH": path}, capture_output=True, text=True, timeout=300
        )


def install(folder: Path) -> Installed:
    """Build the sdist of a copy of the repository, from it the wheel, and install that; needs no network."""
    sdist = _build("sdist", _copy(folder / "copy"), folder / "dist")
    with tarfile.open(sdist) as tar:
        tar.extractall(folder / "source", filter="data")
    wheel = _build("wheel", next((folder / "source").iterdir()), folder / "dist")
    environment = folder / "environment"
    venv.create(environment)
    # The dependencies are those of this environment: what it has by itself comes first, and no .pth of theirs is read.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--ignore-installed", str(wheel)], check=True)
    torchrun = (Path(sys.executable).parent / "torchrun").read_text().split("\n", 1)[1]
    (environment / "bin" / "torchrun").write_text(f"#!{environment}/bin/python\n{torchrun}")
    (environment / "bin" / "torchrun").chmod(0o755)
    return Installed(environment / "bin", lay_traps(folder / "project", MODULES))


def lay_traps(folder: Path, modules: Sequence[str] = ()) -> Path:
    """A project with packages of `FOLDERS`' names and the ``modules``, which end every process that imports one."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(BOOBY_TRAP)
    for name in modules:
        (folder / f"{name}.py").write_text(BOOBY_TRAP)
    return folder


def _copy(target: Path) -> Path:
    """The repository's files, links as links, without what git ignores."""
    for path in REPOSITORY.iterdir():
        if path.name not in NOT_COPIED and not path.name.endswith(".egg-info"):
            target.mkdir(exist_ok=True)
            subprocess.run(["cp", "-a", str(path), str(target)], check=True)
    return target


def _build(kind: str, source: Path, target: Path) -> Path:
    """What a build front end would have made of ``source``."""
    script = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, text=True, check=True)
    return target / done.stdout.splitlines()[-1]
