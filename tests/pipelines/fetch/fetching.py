"""A fetcher for a test's own servers."""

from __future__ import annotations

from contextlib import asynccontextmanager

from clipsieve.pipelines.fetch.fetcher import open_fetcher
from clipsieve.schemas.options import DownloadOptions

UID = "0" * 32


@asynccontextmanager
async def fetching(*hosts, **options):
    """A fetcher that may go to ``hosts``, HOST:PORT each; it asks once and for no robots.txt, unless told to."""
    values = {"attempts": 1, "connect_timeout": 4, "read_timeout": 4, "total_timeout": 8, "robots_txt": False}
    fetcher = open_fetcher(DownloadOptions(allow_hosts=hosts, **(values | options)))
    try:
        yield fetcher
    finally:
        await fetcher.close()
