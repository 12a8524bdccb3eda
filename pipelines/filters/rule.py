"""What a rule is: it judges each pair by itself, so that rules may be composed in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam
import numpy as np

from clipsieve.pipelines.filters.columns import PairColumns, Rows
from clipsieve.pipelines.select.where import Where
from clipsieve.schemas.errors import InputError


class Judge(Protocol):
    """How a rule tells the pairs that it rejects. Its arguments in a rule's text are its fields, in order."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns that `rejects` needs."""

    def check(self, pool: PairColumns) -> None:
        """Raise InputError where a value is not one the rule can take, or the pool lacks what it needs."""

    def survey(self, score_files: beam.PCollection[str], pool: PairColumns, out: str) -> beam.PCollection | None:
        """What must be known of all pairs before one is judged, as one element; None: nothing."""

    def rejects(self, rows: Rows, finding: Any) -> np.ndarray:
        """bool[N]: which pairs are rejected; ``finding`` is the survey's element."""


@dataclass(frozen=True)
class Rule:
    """One rule of a recipe."""

    reason: str
    """The reject_reason of a pair that it rejects."""
    text: str
    """What it keeps, as a recipe may say it."""
    judge: Judge


@dataclass(frozen=True)
class Condition:
    """Keeps the pairs for which a condition on columns is true (pipelines/select/where.py)."""

    where: Where

    @property
    def columns(self) -> Sequence[str]:
        return self.where.columns

    def check(self, pool: PairColumns) -> None:
        if not self.where.columns:
            raise InputError(f"rule {self.where.text!r}: names no column")

    def survey(self, score_files: beam.PCollection[str], pool: PairColumns, out: str) -> None:
        return None

    def rejects(self, rows: Rows, finding: None) -> np.ndarray:
        return ~self.where.holds(rows.batch, rows.path)
