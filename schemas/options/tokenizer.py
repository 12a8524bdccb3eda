"""How a SentencePiece model is trained."""

from __future__ import annotations

from pydantic import Field

from clipsieve.schemas.options.base import Count, Options, Positive, Seed


class TokenizerOptions(Options):
    """How a SentencePiece model is trained."""

    vocab_size: Positive = Field(32_000, description="pieces of the vocabulary, special ones included")
    canonicalize: bool = Field(
        False, description="turn captions into lower case without punctuation, as big_vision does"
    )
    captions: Count = Field(10_000_000, description="captions to train on; where there are more, so many are drawn")
    seed: Seed = Field(0, description="seed of the draw of the captions")
