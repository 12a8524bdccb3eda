"""Manifests as earlier development versions wrote them, in today's form."""

from __future__ import annotations

from typing import Any

from clipsieve.schemas import files
from clipsieve.schemas.errors import InputError


def upgraded(content: dict[str, Any], folder: str) -> dict[str, Any]:
    """The content of the manifest of ``folder``, whose subset was a text of the recipe and a digest of the inputs.

    Raises InputError for a mixture of subsets: its digest was one of all of them.
    """
    if "subsets" in content:
        return content
    recipe, inputs = dict(content.get("recipe", {})), dict(content.get("inputs", {}))
    chosen, digest = recipe.pop("subset", None), inputs.pop("subset", None)
    if chosen and "," in chosen:
        raise InputError(
            f"{folder}: was trained on the mixture {chosen} by an older version, whose manifest does not tell its "
            "subsets apart; train it again, or move it out of the run"
        )
    name = chosen or files.name_of(folder)
    subsets = [{"name": name, "path": None, "digest": digest}] if digest else []
    protocol = recipe.pop("protocol", None)
    earlier = [upgraded(state, folder) for state in content.get("earlier", [])]
    return content | {"recipe": recipe, "inputs": inputs, "subsets": subsets, "protocol": protocol, "earlier": earlier}
