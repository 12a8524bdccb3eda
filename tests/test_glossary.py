"""The glossary of ARCHITECTURE.md: each name in its brackets is defined once in the code."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
ROOTS = ("pipelines", "training", "evaluation", "schemas", "clipsieve")


def definitions(*kinds: type[ast.ClassDef | ast.FunctionDef]) -> Counter[str]:
    """How often each public class or function is defined at the top of a module."""
    paths = {path.resolve() for root in ROOTS for path in (REPOSITORY / root).rglob("*.py")}
    nodes = (node for path in paths for node in ast.parse(path.read_text("utf-8")).body)
    return Counter(node.name for node in nodes if isinstance(node, kinds) and not node.name.startswith("_"))


def test_a_word_of_the_glossary_has_one_definition() -> None:
    text = (REPOSITORY / "ARCHITECTURE.md").read_text("utf-8")
    glossary = text[text.index("## Glossary") : text.index("## The flow of data")]
    names = re.findall(r"\(`(\w+)`\)", glossary)
    defined = definitions(ast.ClassDef, ast.FunctionDef)
    assert len(names) > 8
    assert {name: defined[name] for name in names} == dict.fromkeys(names, 1)


def test_no_two_classes_have_one_name() -> None:
    assert [name for name, count in definitions(ast.ClassDef).items() if count > 1] == []
