"""A run's models and results as a table for the terminal."""

from __future__ import annotations

from rich.table import Table

from evaluation.report import words
from evaluation.report.models import ModelRun, Result, read_models
from schemas.manifest import stages


def summary_table(run_dir: str) -> Table:
    """One row a model, one column a metric, each value in percent with its 95% interval."""
    models = read_models(run_dir, stages(run_dir))
    measures = list(dict.fromkeys((r.dataset, r.metric) for model in models for r in model.results))
    table = Table("model", "trained on", "pairs", "samples seen")
    for dataset, metric in measures:
        table.add_column(f"{dataset}\n{words.metric(metric)}", justify="right")
    for model in models:
        by_measure = {(r.dataset, r.metric): r for r in model.results}
        table.add_row(*_origin(model), *(_percent(by_measure.get(measure)) for measure in measures))
    return table


def _origin(model: ModelRun) -> tuple[str, str, str, str]:
    seen = model.manifest.counts["samples_seen"]
    return model.name, words.subset(model.subset), f"{model.pairs:,}", f"{seen:,}"


def _percent(result: Result | None) -> str:
    if result is None:
        return ""
    interval = f" [{100 * result.interval[0]:.1f}, {100 * result.interval[1]:.1f}]" if result.interval else ""
    return f"{100 * result.value:.1f}%{interval}"
