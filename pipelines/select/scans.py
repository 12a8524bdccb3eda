"""A scan: one look at every row of the score files, by which a selection's plan learns more."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from clipsieve.pipelines.select import plan as selection
from clipsieve.pipelines.select import thresholds
from clipsieve.pipelines.select.plan import SelectionPlan
from clipsieve.pipelines.select.scored import Sources


class Scan(beam.PTransform):
    """(score files, plan) -> the plan after one more look at every row."""

    def __init__(self, sources: Sources) -> None:
        super().__init__()
        self.sources = sources

    def expand(
        self, inputs: tuple[beam.PCollection[str], beam.PCollection[SelectionPlan]]
    ) -> beam.PCollection[SelectionPlan]:
        score_files, plan = inputs
        return (
            score_files
            | "Count" >> beam.Map(count_file, AsSingleton(plan), self.sources)
            | "Add" >> beam.CombineGlobally(thresholds.add).without_defaults()
            | "Advance" >> beam.Map(lambda histogram, plan: selection.advance(plan, histogram), AsSingleton(plan))
        )


def count_file(path: str, plan: SelectionPlan, sources: Sources) -> thresholds.Histogram:
    """The histogram of a score file's eligible rows; of a plan that is finished an empty one, and nothing is read."""
    if plan.finished:
        return thresholds.EMPTY
    eligible = (rows.where(rows.is_eligible) for rows in sources.read(path, plan.needs_uids))
    return thresholds.add(selection.count_rows(plan, rows) for rows in eligible)
