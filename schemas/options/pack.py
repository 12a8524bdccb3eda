"""How local pictures become shards."""

from __future__ import annotations

from pydantic import Field

from clipsieve.schemas.options.base import FailureShare, Names, Positive
from clipsieve.schemas.options.images import ImageOptions


class PackOptions(ImageOptions):
    """How local pictures become shards."""

    may_change = frozenset({"max_failure_share"})

    captions: Names = Field(
        ("txt", "json:caption"),
        min_length=1,
        description="of a folder: extension of the files that hold captions, or json:FIELD; the first that a picture "
        "has counts",
    )
    path_column: str | None = Field(
        None, description="of a table: column of the pictures' paths; none: path, file, image, filename or url"
    )
    max_bytes: Positive = Field(20_000_000, description="most bytes of a picture's file")
    max_failure_share: FailureShare = Field(1.0, description="largest share of the rows that may fail")
