"""How the shards of another tool are read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clipsieve.schemas.options.base import Names, Options


class IndexOptions(Options):
    """How the shards of another tool are read."""

    captions: Names = Field(
        ("txt", "json:caption"),
        min_length=1,
        description="extension of the members that hold captions, or json:FIELD; the first that a sample has counts",
    )
    uid: str = Field("uid", description="column of the tables, or field of the json members, that holds uids")
    uid_from: Literal["any", "pair", "key"] = Field(
        "any",
        description="what a uid is: any: what `uid` holds, else a hash of url and caption, else of the shard and key; "
        "pair, key: that hash alone",
    )
