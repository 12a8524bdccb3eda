"""The reference by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsieve.pipelines.score import references
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.models import load_model


def test_builtin_is_the_model_beside_the_module(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "_BUILTIN_FOLDER", tiny_model)
    loaded = references.load_reference("builtin")
    assert loaded.name == "builtin" and loaded.digest == load_model(str(tiny_model)).digest


def test_an_installation_without_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "_BUILTIN_FOLDER", tmp_path)
    with pytest.raises(InputError, match="builtin: this installation holds no builtin reference"):
        references.load_reference("builtin")


def test_any_other_name_is_a_model(tiny_model: Path) -> None:
    assert references.load_reference(str(tiny_model)).name == str(tiny_model)
    with pytest.raises(InputError, match="open_clip knows no"):
        references.load_reference("open_clip:ViT-B-32/no-such-weights")
