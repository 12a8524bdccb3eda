"""How pairs become shards."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clipsieve.schemas.options.base import FailureShare, Positive, Seconds
from clipsieve.schemas.options.images import ImageOptions


class DownloadOptions(ImageOptions):
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

    max_failure_share: FailureShare = Field(1.0, description="largest share of the rows that may fail")
