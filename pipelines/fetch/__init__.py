"""Fetching a URL that a stranger wrote, from a server that a stranger runs (law 7).

addresses.py decides where a connection may go, resolver.py makes sure that it goes nowhere else, robots.py
reads the owner's wish, client.py asks.
"""

from pipelines.fetch.addresses import parse_allowed_hosts
from pipelines.fetch.client import Fetched, fetch, open_session

__all__ = ["Fetched", "fetch", "open_session", "parse_allowed_hosts"]
