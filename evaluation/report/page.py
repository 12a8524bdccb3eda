"""The report of a run as ``report/index.html``."""

from __future__ import annotations

from pathlib import Path

from clipsieve.evaluation.pages.rendering import render_page
from clipsieve.evaluation.report import clusters, filters, headline, views
from clipsieve.evaluation.report.collect import ReportedRun, collect
from clipsieve.schemas import files
from clipsieve.schemas.run import gather


def run(run_dir: str) -> str:
    """Write ``run_dir``/report/index.html, then ``run_dir``/manifest.json; returns the page's path.

    Equal data gives equal bytes: no time is shown. Raises InputError when the folder lacks shards, scores or
    selection, or what it holds does not fit together.
    """
    path = files.join(run_dir, "report", "index.html")
    files.write_if_changed(path, render(collect(run_dir)))
    gather(run_dir)
    return path


def render(run: ReportedRun) -> bytes:
    """The whole page as HTML."""
    return render_page(
        Path(__file__).with_name("template.html"),
        Path(__file__).with_name("report.js").read_text("utf-8"),
        run=run,
        lead=headline.pairs_sentence(run.steps, run.pool.scored, run.pool.eligible, run.main_cut),
        failures=run.failures,
        filters=filters.filters_view(run.filters) if run.filters else None,
        dedup=clusters.dedup_view(run.dedup, run.cards) if run.dedup else None,
        findings=headline.model_findings(run.comparisons),
        histogram=views.histogram_view(run),
        bands=views.band_views(run),
        borders=views.border_views(run),
        swapped=views.swapped_views(run),
        tasks=views.task_views(run),
        losses=views.loss_view(run),
    )
