"""The private members of dependencies that this project uses: each is listed, exists, and is of a bounded range."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from open_clip.transformer import VisionTransformer

ROOT = Path(__file__).parent.parent
PRIVATE = {
    "_connections_by_worker_id": "apache-beam",  # BeamFnControlServicer's, in pipelines/engine/watched_workers.py
    "_embeds": "open_clip_torch",  # VisionTransformer's, in training/strategies/slip.py
    "_factory": "aiohttp",  # TCPConnector's, in pipelines/fetch/client.py
    "_futures_by_id": "apache-beam",  # ControlConnection's, in pipelines/engine/watched_workers.py
    "_payload": "aiohttp",  # ResponseHandler's, in pipelines/fetch/handler.py
    "_pool": "open_clip_torch",  # VisionTransformer's, in training/strategies/slip.py
    "_subclasses": "torch",  # where torch documents FakeTensorMode, in training/cost/memory.py
}
"""Each private member, and the distribution whose range in pyproject.toml ends at the last version tried."""
STANDARD_LIBRARY = {"_exit", "_Hash"}
"""os._exit is documented; hashlib._Hash is named in annotations alone."""


def test_every_private_member_that_is_used_is_listed():
    trees = [ast.parse(path.read_text()) for path in _sources()]
    own = {name for tree in trees for name in _defined(tree)}
    used = {name for tree in trees for name in _foreign(tree, own)}
    assert used - STANDARD_LIBRARY == set(PRIVATE), "list it in PRIVATE, and bound its distribution in pyproject.toml"


@pytest.mark.parametrize("member", PRIVATE)
def test_every_listed_private_member_exists(member):
    distribution = PRIVATE[member]
    assert _exists(member), (
        f"{distribution} {version(distribution)} has no {member}: bound {distribution} in pyproject.toml below this "
        "version, or change the code that PRIVATE names"
    )


@pytest.mark.parametrize("distribution", sorted(set(PRIVATE.values())))
def test_a_distribution_of_private_members_has_an_upper_bound(distribution):
    (range_,) = re.findall(rf'^    "{distribution}([<>=][^"]*)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert "<" in range_, f"{distribution}{range_} in pyproject.toml: end the range at the last version that was tried"


def _exists(member: str) -> bool:
    """Whether the installed version has it, looked for where the code finds it."""
    if member == "_factory":
        return asyncio.run(_connector_has_factory())
    if member == "_payload":
        loop = asyncio.new_event_loop()
        try:
            return hasattr(ResponseHandler(loop), member)
        finally:
            loop.close()
    if member == "_subclasses":
        return importlib.util.find_spec("torch._subclasses.fake_tensor") is not None
    beam: Any = worker_handlers
    owners: dict[str, Callable[[], Any]] = {
        "_connections_by_worker_id": lambda: beam.BeamFnControlServicer(worker_manager=None),
        "_futures_by_id": beam.ControlConnection,
        "_embeds": lambda: VisionTransformer,
        "_pool": lambda: VisionTransformer,
    }
    return hasattr(owners[member](), member)


async def _connector_has_factory() -> bool:
    async with aiohttp.TCPConnector() as connector:
        return hasattr(connector, "_factory")


def _sources() -> Iterator[Path]:
    """The files that are installed: those of the tests and benchmarks are not."""
    for part in ("clipsieve", "schemas", "pipelines", "training", "evaluation"):
        yield from (ROOT / part).rglob("*.py")
    yield from ROOT.glob("*.py")


def _foreign(tree: ast.AST, own: set[str]) -> Iterator[str]:
    """Private names that a file takes from objects and packages which are not this project's.

    A name on ``self`` is the project's where any of its files defines it; one on another object, where this file does.
    """
    here = set(_defined(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names, ours = [node.attr], own if ast.unparse(node.value) in {"self", "cls"} else here
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names, ours = [*(node.module or "").split("."), *(alias.name for alias in node.names)], own
        elif isinstance(node, ast.Import):
            names, ours = [part for alias in node.names for part in alias.name.split(".")], set()
        else:
            continue
        yield from (name for name in names if re.match(r"_[^_]", name) and name not in ours)


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr
