"""Which pairs may be selected at all."""

from __future__ import annotations

from pydantic import Field

from clipsieve.schemas.options.base import Options


class FilterOptions(Options):
    """Which pairs may be selected at all."""

    rules: tuple[str, ...] = Field(
        ("basic",),
        description='a named rule or set of rules (basic), or a condition ("few_words: caption_words > 4"); see --list',
    )
