"""How pairs become shards."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clipsieve.schemas.options.base import Names, Options, Positive, Seconds


class DownloadOptions(Options):
    """How pairs become shards. What img2dataset has too bears its name and means the same."""

    may_change = frozenset(
        {
            "attempts",
            "connect_timeout",
            "read_timeout",
            "total_timeout",
            "concurrency",
            "host_concurrency",
            "host_rate",
            "max_retry_after",
            "network_patience",
            "dns_servers",
            "max_failure_share",
        }
    )
    """How to ask: how often, how long, how fast, and when to give up. All others say what to make."""

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

    max_bytes: Positive = Field(20_000_000, description="most bytes of a response")
    max_redirects: Annotated[int, Field(ge=0, le=20)] = Field(
        5, description="most redirects that are followed to an image"
    )
    attempts: Annotated[int, Field(ge=1, le=10)] = Field(2, description="attempts for a URL whose failure is retryable")
    connect_timeout: Seconds = Field(5.0, description="seconds until a connection is made, name resolution included")
    read_timeout: Seconds = Field(10.0, description="seconds without a byte before an attempt ends")
    total_timeout: Seconds = Field(30.0, description="seconds from the first request to the last byte, per attempt")
    concurrency: Positive = Field(64, description="URLs requested at a time, per worker")
    host_concurrency: Positive = Field(16, description="URLs requested from one host at a time, per worker")
    host_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="most requests per second to one host, per worker; none: no limit"
    )
    max_retry_after: Seconds = Field(60.0, description="longest wait in seconds that a host's Retry-After can request")
    network_patience: Seconds = Field(
        900.0, description="seconds to wait for a network that is gone before the job ends"
    )
    dns_servers: tuple[str, ...] = Field((), description="ADDRESS[:PORT] of a name server; none: the system's")
    allow_hosts: tuple[str, ...] = Field((), description="HOST:PORT that may have a private address")
    user_agent: Annotated[str, Field(pattern=r"^[A-Za-z_-]+$")] = Field(
        "clipsieve", description="name sent to servers, and looked up in robots.txt and X-Robots-Tag"
    )
    robots_txt: bool = Field(True, description="request each host's robots.txt first and obey it")

    max_failure_share: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="largest share of the rows that may fail"
    )

    @model_validator(mode="after")
    def _quality_of_format(self) -> DownloadOptions:
        low, high = (0, 9) if self.encode_format == "png" else (1, 100)
        if not low <= self.encode_quality <= high:
            raise ValueError(f"`encode_quality` of {self.encode_format} is from {low} to {high}")
        return self
