"""Linear heads against their formula; files that are no such head are named in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from clipsieve.pipelines.score.heads import load_heads
from clipsieve.schemas.errors import InputError

WEIGHT = np.random.default_rng(0).normal(size=4).astype(np.float32)
IMAGE = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


def write(path: Path, metadata: dict[str, str] | None = None, **tensors: object) -> str:
    save_file({name: np.asarray(value, np.float32) for name, value in tensors.items()}, path, metadata)
    return f"nsfw={path}"


@pytest.mark.parametrize(("weight", "bias"), [(WEIGHT, 0.25), (WEIGHT[None], [0.25])])
def test_a_head_is_its_linear_layer(tmp_path: Path, weight: np.ndarray, bias: object) -> None:
    plain = load_heads([write(tmp_path / "a.safetensors", weight=weight, bias=bias)], 4)[0]
    values = plain(IMAGE)
    assert values.dtype == np.float32 and np.allclose(values, IMAGE @ WEIGHT + 0.25, atol=1e-6)
    metadata = {"activation": "sigmoid", "format": "pt"}
    squashed = load_heads([write(tmp_path / "b.safetensors", metadata, weight=weight, bias=bias)], 4)[0]
    assert np.allclose(squashed(IMAGE), 1 / (1 + np.exp(-values)), atol=1e-6)
    assert plain.digest != squashed.digest


def test_what_is_no_head_is_named(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, object], dict[str, str] | None, str]] = [
        ({"weight": WEIGHT}, None, r"no tensor 'bias'; it has: weight"),
        ({"weight": np.zeros((2, 4)), "bias": 0}, None, r"'weight' has shape \[2, 4\].* need \[4\] or \[1, 4\]"),
        ({"weight": WEIGHT, "bias": [0, 1]}, None, r"'bias' has shape \[2\]"),
        ({"weight": WEIGHT * np.nan, "bias": 0}, None, r"'weight' has numbers that are not finite"),
        ({"weight": WEIGHT, "bias": 0}, {"activation": "relu"}, r"activation 'relu' is not known"),
    ]
    for tensors, metadata, message in cases:
        with pytest.raises(InputError, match=rf"h\.safetensors: {message}"):
            load_heads([write(tmp_path / "h.safetensors", metadata, **tensors)], 4)


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "h.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(InputError, match=r"h\.safetensors: not a readable safetensors file"):
        load_heads([f"nsfw={tmp_path / 'h.safetensors'}"], 4)
    with pytest.raises(InputError, match=r"none\.safetensors: no such file"):
        load_heads([f"nsfw={tmp_path / 'none.safetensors'}"], 4)


@pytest.mark.parametrize("name", ["similarity", "similarity_2", "uid", "language", "reference_3"])
def test_a_name_that_is_taken_is_refused(tmp_path: Path, name: str) -> None:
    spec = write(tmp_path / "h.safetensors", weight=WEIGHT, bias=0)
    with pytest.raises(InputError, match=f"head {name}: another column"):
        load_heads([spec.replace("nsfw", name)], 4)
    with pytest.raises(InputError, match="head nsfw: another column"):
        load_heads([spec, spec], 4)
