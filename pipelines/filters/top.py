"""`top(COLUMN, PERCENT)`: keeps exactly the best q% of all pairs by a score, as `select` cuts them."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa

from clipsieve.pipelines.filters.columns import PairColumns, Rows
from clipsieve.pipelines.select import plan as selection
from clipsieve.pipelines.select.plan import SelectionPlan, Subset
from clipsieve.pipelines.select.scans import Scan
from clipsieve.pipelines.select.scored import Scored, Sources
from clipsieve.schemas.options import SelectOptions, parse_options


@dataclass(frozen=True)
class Top:
    """⌊N·percent/100⌋ of the N pairs, those of the highest ``column``; ties go to the smaller uid (law 5)."""

    column: str
    percent: float

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, pool: PairColumns) -> None:
        self._options()

    def survey(
        self, score_files: beam.PCollection[str], pool: PairColumns, out: str
    ) -> beam.PCollection[SelectionPlan]:
        options = self._options()
        plan = score_files.pipeline | "No plan yet" >> beam.Create([SelectionPlan(options)])
        for number in range(selection.most_scans(options)):
            plan = (score_files, plan) | f"Scan {number}" >> Scan(Sources(self.column))
        return plan

    def rejects(self, rows: Rows, finding: SelectionPlan) -> np.ndarray:
        scores = rows.batch[self.column].cast(pa.float32()).to_numpy(zero_copy_only=False)
        nothing = pa.nulls(len(rows), pa.string())
        quantiles = selection.quantile_ranks(finding, Scored(rows.batch["uid"], scores, nothing, nothing))
        subset = Subset("subsets", "top", self.percent)
        return ~selection.members(finding, subset, quantiles, np.zeros(len(rows)))

    def _options(self) -> SelectOptions:
        chosen = {"fractions": (self.percent,), "score_column": self.column}
        return parse_options(SelectOptions, chosen, f"rule top({self.column}, {self.percent})")
