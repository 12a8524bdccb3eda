"""The packages as ARCHITECTURE.md draws them, held against the imports of the code.

A line of the drawing is a floor: ``pipelines 2  dedup  filters  reshard`` says that these packages import from lower
floors of `pipelines` alone, and from one on the floor right below at least.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
ROOTS = ("pipelines", "training", "evaluation")
DRAWN = re.compile(r"^(pipelines|training|evaluation) +(\d)  (\S.*)$", re.MULTILINE)


def package_of(dotted: str) -> tuple[str, str]:
    """("pipelines", "select") of ``clipsieve.pipelines.select.job``; the second is "" for the root itself."""
    _, root, *inner = dotted.split(".")
    return root, inner[0] if inner else ""


@cache
def imports() -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Of each package, and each module next to the packages, which others it imports from."""
    found: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for path in (path for root in (*ROOTS, "schemas") for path in (REPOSITORY / root).rglob("*.py")):
        inner = path.relative_to(REPOSITORY).with_suffix("")
        package = package_of(".".join(("clipsieve", *inner.parts)).removesuffix(".__init__"))
        names = found[package]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("clipsieve"):
                names |= {package_of(f"{node.module}.{name.name}") for name in node.names}
            assert not isinstance(node, ast.Import) or not any(n.name.startswith("clipsieve.") for n in node.names)
        names.discard(package)
    return dict(found)


@cache
def floor_of(package: tuple[str, str], above: tuple[tuple[str, str], ...] = ()) -> int:
    assert package not in above, f"a circle of imports: {above}"
    below = [other for other in imports().get(package, ()) if other[0] == package[0]]
    return 1 + max((floor_of(other, (*above, package)) for other in below), default=-1)


def test_the_drawing_is_true() -> None:
    text = (REPOSITORY / "ARCHITECTURE.md").read_text("utf-8")
    drawn = {(root, int(floor)): names.split() for root, floor, names in DRAWN.findall(text)}
    true: dict[tuple[str, int], list[str]] = defaultdict(list)
    for root, name in sorted(imports()):
        if root in ROOTS and name:
            true[root, floor_of((root, name))].append(name)
    assert drawn == dict(true)


@pytest.mark.parametrize("root", ["pipelines", "training", "evaluation", "schemas"])
def test_a_root_imports_no_other_but_schemas(root: str) -> None:
    others = {other for (own, _), names in imports().items() if own == root for other, _ in names}
    assert others <= {root, "schemas"}


def test_a_package_of_pipelines_loads_nothing_by_itself() -> None:
    """``import clipsieve.pipelines.select.thresholds`` shall not load Beam: an ``__init__`` holds a docstring."""
    for root in ROOTS:
        for path in (REPOSITORY / root).glob("*/**/__init__.py"):
            assert len(ast.parse(path.read_text("utf-8")).body) == 1, path
