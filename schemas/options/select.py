"""Which subsets and samples are cut from the scores."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator

from clipsieve.schemas.options.base import Count, Options, Seed
from clipsieve.schemas.sizes import parse_size, size_name

Fraction = Annotated[float, Field(gt=0, le=100)]


def parse_combination(text: str) -> tuple[float, int]:
    """The percentage and the size of a sample within a subset: ``top40_10M`` is 10M pairs of the best 40%."""
    match = re.fullmatch(r"top(\d+(?:\.\d{1,2})?)_(.+)", text)
    if not match or not 0 < float(match[1]) <= 100 or parse_size(match[2]) <= 0:
        raise ValueError(f"{text!r} is not a sample within a subset, as top40_10M")
    return float(match[1]), parse_size(match[2])


class SelectOptions(Options):
    """Which subsets and samples are cut from the scores."""

    may_change = frozenset({"subsets", "allow_missing"})

    fractions: tuple[Fraction, ...] = Field(
        (20, 40, 60, 80), description="subsets to cut, each a percentage of the pairs with the best scores"
    )
    sizes: tuple[Count, ...] = Field((), description="pairs in each nested sample, for example 250 or 10M")
    combinations: tuple[str, ...] = Field((), description="samples of a subset: top40_10M is 10M pairs of the best 40%")
    seed: Seed = Field(0, description="seed of the draw of the samples")
    score_column: str = Field("similarity", description="column of the score files by which the pairs are ranked")
    where: str = Field(
        "", description="condition on their columns, for example \"original_width >= 200 and language == 'en'\""
    )
    allow_missing: bool = Field(
        False, description="select from the members that the scores have, and count those that they lack"
    )
    subsets: bool = Field(True, description="write the files of each subset and sample, not the selection table alone")

    @field_validator("fractions")
    @classmethod
    def _whole_hundredths(cls, fractions: tuple[float, ...]) -> tuple[float, ...]:
        for fraction in fractions:
            if round(fraction, 2) != fraction:
                raise ValueError(f"a fraction has at most two decimals, not {fraction}")
        return tuple(sorted(set(fractions)))

    @field_validator("combinations")
    @classmethod
    def _named_alike(cls, combinations: tuple[str, ...]) -> tuple[str, ...]:
        parsed = sorted({parse_combination(text) for text in combinations})
        return tuple(f"top{percent:g}_{size_name(size)}" for percent, size in parsed)
