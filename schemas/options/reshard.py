"""How a subset becomes shards of its own."""

from __future__ import annotations

from pydantic import Field

from clipsieve.schemas.options.base import Options, Positive, Seed


class ReshardOptions(Options):
    """How a subset becomes shards of its own."""

    shard_size: Positive = Field(10_000, description="samples in a shard")
    seed: Seed = Field(0, description="seed of the order of the samples")
    allow_missing: bool = Field(False, description="leave out the members that are not in the shards, and count them")
