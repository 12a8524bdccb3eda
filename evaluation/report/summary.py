"""A run's models and results as a table for the terminal."""

from __future__ import annotations

from rich.table import Table

from clipsieve.evaluation.pages import words
from clipsieve.evaluation.report.models import Result, read_models
from clipsieve.schemas.run import read_run
from clipsieve.schemas.terminal import cell


def summary_table(run_dir: str) -> Table:
    """One column a model, one row a metric, each value in percent with its 95% interval."""
    models = read_models(read_run(run_dir))
    table = Table("")
    for model in models:
        table.add_column(cell(model.name))
    table.add_row("trained on", *(cell(words.trained_on(model.data)) for model in models))
    table.add_row("pairs", *(f"{model.pairs:,}" for model in models))
    table.add_row("samples seen", *(f"{model.counts.samples_seen:,}" for model in models), end_section=True)
    found = {(r.dataset, r.metric, model.name): r for model in models for r in model.results}
    for dataset, metric in dict.fromkeys((dataset, metric) for dataset, metric, _ in found):
        values = (_percent(found.get((dataset, metric, model.name))) for model in models)
        table.add_row(cell(f"{dataset}: {words.metric(metric)}"), *values)
    return table


def _percent(result: Result | None) -> str:
    if result is None:
        return ""
    interval = f" [{100 * result.interval[0]:.1f}, {100 * result.interval[1]:.1f}]" if result.interval else ""
    return f"{100 * result.value:.1f}%{interval}"
