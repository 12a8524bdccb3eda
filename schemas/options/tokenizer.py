"""How a SentencePiece model is trained."""

from __future__ import annotations

from pydantic import Field

from clipsieve.schemas.options.base import Count, Options, Positive, Seed


class TokenizerOptions(Options):
    """How a SentencePiece model is trained."""

    vocab_size: Positive = Field(32_000, description="pieces, the special ones included")
    canonicalize: bool = Field(False, description="captions in lower case, without punctuation, as big_vision has them")
    captions: Count = Field(10_000_000, description="captions to train on, drawn where there are more")
    seed: Seed = Field(0, description="decides which captions are drawn")
