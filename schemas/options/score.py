"""How pairs get their similarity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clipsieve.schemas.options.base import Options, Positive

STORED = "stored"
"""The reference that is no model: image and text embeddings that lie in the folder already."""
HeadFile = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*=.+\.safetensors$")]


class ScoreOptions(Options):
    """How pairs get their similarity."""

    references: tuple[str, ...] = Field(
        ("builtin",),
        min_length=1,
        description="builtin, open_clip:MODEL/PRETRAINED, open_clip:MODEL@FILE or a model folder; the first gives "
        "column similarity, the next ones similarity_2 and so on; stored: embeddings in clip-retrieval's layout",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="precision of the references' computation; similarities are stored in fp32 in both cases"
    )
    batch_size: Positive = Field(
        64, description="pairs in a forward pass; another size may change the last digits of a score"
    )
    heads: tuple[HeadFile, ...] = Field(
        (), description="NAME=FILE.safetensors: a linear head on the first reference's image embeddings, column NAME"
    )
    language: bool = Field(False, description="identify the language of the captions")
    embeddings: bool = Field(False, description="store image and text embeddings in fp16 next to the scores")

    @model_validator(mode="after")
    def _stored_has_no_model(self) -> ScoreOptions:
        if STORED in self.references and (len(self.references) > 1 or self.embeddings or self.precision != "fp32"):
            raise ValueError(
                "stored embeddings are scored as they are, without another of `references`, `embeddings` or `precision`"
            )
        return self
