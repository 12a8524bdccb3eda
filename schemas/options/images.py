"""How rows of a table become shards of images: what `download` and `pack` share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clipsieve.schemas.options.base import Names, Options, Positive


class ImageOptions(Options):
    """How rows of a table become shards of images. What img2dataset has too bears its name and means the same."""

    columns: Names = Field(
        (),
        description="names of the columns of a CSV or TSV that has no header, separated by commas, as caption,url",
        json_schema_extra={"flag": "--columns"},
    )
    shard_size: Positive = Field(10_000, description="rows of the input table in a shard")

    image_size: Positive = Field(256, description="size in pixels of the side that `resize_mode` sets")
    resize_mode: Literal["keep_ratio", "center_crop", "border", "keep_ratio_largest", "no"] = Field(
        "keep_ratio", description="how an image is resized, as in img2dataset"
    )
    resize_only_if_bigger: bool = Field(True, description="leave smaller images as they are")
    decode: Literal["exact", "fast"] = Field(
        "exact", description="exact: img2dataset's pixels; fast: JPEGs decoded at a reduced scale"
    )
    color: Literal["srgb", "keep"] = Field(
        "srgb", description="srgb: convert the colours of embedded ICC profiles; keep: img2dataset's pixels"
    )
    encode_format: Literal["jpg", "png", "webp"] = Field("jpg", description="format of the stored image")
    encode_quality: Annotated[int, Field(ge=0, le=100)] = Field(
        95, description="quality of JPEG and WebP, from 1 to 100; of PNG the compression, 0 to 9"
    )
    skip_reencode: bool = Field(
        False, description="store the file as it was served where nothing in it needs to change"
    )
    min_image_size: Annotated[int, Field(ge=0)] = Field(0, description="least size in pixels of the shorter side")
    max_aspect_ratio: Annotated[float, Field(ge=1)] | None = Field(
        None, description="largest ratio of the longer side to the shorter one; none: any"
    )
    max_pixels: Positive = Field(100_000_000, description="most pixels of an image, checked before it is decoded")
    bbox_col: str | None = Field(
        None, description="column of the boxes to blur, [[x0, y0, x1, y1], ...] from 0 to 1; none: no blurring"
    )
    verify_sha256: bool = Field(True, description="refuse bytes whose SHA-256 differs from the input's column sha256")

    @model_validator(mode="after")
    def _quality_of_format(self) -> ImageOptions:
        low, high = (0, 9) if self.encode_format == "png" else (1, 100)
        if not low <= self.encode_quality <= high:
            raise ValueError(f"`encode_quality` of {self.encode_format} is from {low} to {high}")
        return self
