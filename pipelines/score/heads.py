"""Linear heads on image embeddings: an aesthetic or NSFW score from a small safetensors file.

LAION's first aesthetic predictor is such a head: one linear layer on a CLIP's image embeddings of unit length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError, safe_open

from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import InputError

_ACTIVATIONS = ("none", "sigmoid")
_TAKEN = re.compile(r"(similarity|reference)_\d+")


@dataclass(frozen=True)
class Head:
    """One linear head; ``name`` is its column."""

    name: str
    weight: np.ndarray
    """float32[D]"""
    bias: float
    activation: str
    """none or sigmoid"""
    digest: str
    """SHA-256 of its file."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """float32[N, D] of unit length -> float32[N]."""
        values = np.einsum("nd,d->n", image, self.weight) + np.float32(self.bias)
        return 1 / (1 + np.exp(-values)) if self.activation == "sigmoid" else values


def load_heads(specs: Sequence[str], width: int) -> tuple[Head, ...]:
    """Load heads given as ``NAME=FILE.safetensors``, for embeddings of ``width`` numbers.

    A file holds ``weight`` [D] or [1, D] and ``bias`` [] or [1]; ``activation: sigmoid`` in its metadata puts a sigmoid
    after them. Raises InputError for a file that is missing or damaged, a tensor that is missing or of another shape
    or has numbers that are not finite, an unknown activation, and a name that another column has.
    """
    heads = [_load_head(spec, width) for spec in specs]
    names = [head.name for head in heads]
    for name in names:
        if names.count(name) > 1 or name in tables.SCORES.columns or _TAKEN.fullmatch(name):
            raise InputError(f"head {name}: another column of the scores has this name; choose another")
    return tuple(heads)


def _load_head(spec: str, width: int) -> Head:
    name, _, path = spec.partition("=")
    digest = files.sha256_file(path)
    try:
        with safe_open(path, framework="numpy") as tensors:
            found = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118  not a mapping
            activation = (tensors.metadata() or {}).get("activation", "none")
    except (SafetensorError, TypeError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    if activation not in _ACTIVATIONS:
        raise InputError(f"{path}: activation {activation!r} is not known; it is none or sigmoid")
    weight = _tensor(found, "weight", ((width,), (1, width)), path)
    bias = _tensor(found, "bias", ((), (1,)), path)
    return Head(name, weight.reshape(width), float(bias.reshape(())), activation, digest)


def _tensor(found: dict[str, np.ndarray], key: str, shapes: Sequence[tuple[int, ...]], path: str) -> np.ndarray:
    if key not in found:
        raise InputError(f"{path}: no tensor {key!r}; it has: {', '.join(sorted(found)) or 'none'}")
    if found[key].shape not in shapes:
        wanted = " or ".join(str(list(shape)) for shape in shapes)
        raise InputError(
            f"{path}: {key!r} has shape {list(found[key].shape)}, the reference's embeddings need {wanted}"
        )
    if not np.isfinite(found[key]).all():
        raise InputError(f"{path}: {key!r} has numbers that are not finite")
    return found[key].astype(np.float32)
