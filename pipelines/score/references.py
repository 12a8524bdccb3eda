"""The reference: the CLIP whose similarity says how well a caption fits its image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.models import CONFIG_NAME, FORMS, LoadedModel, load_model

BUILTIN = "builtin"
_BUILTIN_FOLDER = Path(__file__).parents[1] / "builtin"


def load_reference(spec: str) -> LoadedModel:
    """Load ``builtin``, the small model that comes with clipsieve, or what `clipsieve.schemas.models.load_model` reads.

    Raises InputError when there is no such model, or its file is missing, damaged or of another architecture.
    """
    if spec != BUILTIN:
        return load_model(spec)
    if not (_BUILTIN_FOLDER / CONFIG_NAME).is_file():
        raise InputError(f"{BUILTIN}: this installation holds no builtin reference; give {FORMS}")
    return replace(load_model(str(_BUILTIN_FOLDER)), name=BUILTIN)


def embedding_width(reference: LoadedModel) -> int:
    """How many numbers an embedding of the reference has."""
    device = next(reference.model.parameters()).device
    with torch.inference_mode():
        return int(reference.model.encode_text(reference.tokenizer([""]).to(device)).shape[-1])  # type: ignore[operator]
