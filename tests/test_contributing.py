"""Files for contributors call what the repository has: make targets, tools, Python versions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent


def loaded(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_the_workflow_calls_make_targets_that_exist():
    called = {}
    for name, job in loaded(".github/workflows/ci.yml")["jobs"].items():
        targets = [re.fullmatch(r"make ([a-z-]+) PYTHON=python", command) for command in commands(job)]
        assert all(targets), f"job {name} runs something else than make: {commands(job)}"
        called[name] = [target[1] for target in targets if target]
    assert called == {"test": ["lint", "test"], "newest": ["test-newest"]}
    assert {target for targets in called.values() for target in targets} <= make_targets()


def test_the_workflow_tests_each_supported_python():
    pythons = loaded(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    lowest, above = re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())[0]
    assert pythons == [f"3.{minor}" for minor in range(int(lowest), int(above))]


def test_the_hooks_run_what_make_lint_runs():
    (repository,) = loaded(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"  # another repository would pin the tools a second time
    tools = {hook["entry"].removeprefix(".venv/bin/").split()[0] for hook in repository["hooks"]}
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert tools == set(re.findall(r"\$\(BIN\)/(\w+)", recipe))


def test_the_citation_names_this_version():
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version and loaded("CITATION.cff")["version"] == version[1]
