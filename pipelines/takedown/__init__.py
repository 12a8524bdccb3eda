"""Takedown: remove the pairs that a list names from everything that a run holds, and record that in its manifests."""

from pipelines.takedown.plan import Plan
from pipelines.takedown.run import run

__all__ = ["Plan", "run"]
