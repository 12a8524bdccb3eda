"""Prove to a stranger that a run's folders hold what they say (law 1); the first discrepancy is named."""

from pipelines.verify.checks import Check
from pipelines.verify.run import run

__all__ = ["Check", "run"]
