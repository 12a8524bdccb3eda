"""Which pairs repeat another."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clipsieve.schemas.options.base import Options, Seed


class DedupOptions(Options):
    """Which pairs repeat another."""

    methods: tuple[Literal["exact", "perceptual", "thumbnail", "semantic"], ...] = Field(
        ("exact", "perceptual", "thumbnail"),
        min_length=1,
        description="exact (bytes, uid), perceptual (hashes), thumbnail (pixels; finds crops) or semantic (embeddings)",
    )
    max_hamming: Annotated[int, Field(ge=0, le=12)] = Field(
        4, description="perceptual: most bits, of 64, in which two hashes may differ"
    )
    min_cosine: Annotated[float, Field(gt=0, le=1)] = Field(
        0.97, description="semantic: least cosine of two image embeddings"
    )
    seed: Seed = Field(0, description="seed of the clusters in which near vectors are searched")
