"""Which images are not what the pool's publisher saw."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from clipsieve.schemas.options.base import Options

NamedColumn = Annotated[
    str, Field(pattern=r"^(uid|url|caption|width|height|sha256|similarity(_[2-9])?|embedding)=[^\n]+$")
]


class DriftOptions(Options):
    """Which images are not what the pool's publisher saw."""

    columns: tuple[NamedColumn, ...] = Field(
        (),
        description="NAME=COLUMN: what the published table calls uid, url, caption, width, height, sha256, similarity "
        "(of the scores' first reference, similarity_2 of the second and so on) or embedding (the array of images in "
        "an npz next to it), where that is not found by its name; NAME=none: not to be compared",
    )
    max_deviation: Annotated[float, Field(gt=0)] = Field(
        12.0,
        description="most that own less published similarity may be off the pool's median, in robust standard "
        "deviations (1.4826 times the median absolute deviation), where no embeddings are compared",
    )
    min_cosine: Annotated[float, Field(gt=0, le=1)] = Field(
        0.983,
        description="least cosine of own and published embedding of an image that kept its size, 96 pixels or more",
    )
    min_copies: Annotated[int, Field(ge=2)] = Field(
        3, description="least number of different URLs that show one image, for it to be a placeholder"
    )
    max_hamming: Annotated[int, Field(ge=0, le=12)] = Field(
        4, description="most bits, of 64, in which the perceptual hashes of one placeholder may differ"
    )

    @model_validator(mode="after")
    def _names_are_different(self) -> DriftOptions:
        names = [each.partition("=")[0] for each in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"`columns` names {twice[0]} twice")
        return self

    def column(self, name: str) -> str | None:
        """The column that ``columns`` names for ``name``; "none" where it is not to be compared."""
        named = dict(each.split("=", 1) for each in self.columns)
        return named.get(name)
