"""Renders a run as ``report/index.html``: style, script, images and numbers in the one file.

Captions and names are hostile: Jinja escapes everything, data for the script is JSON with ``<`` escaped, and
a content security policy allows this style and this script alone, by their digests, and no connection.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation.report import headline, views, words
from evaluation.report.collect import Run, collect
from schemas import files, manifest

_HERE = Path(__file__).parent


def run(run_dir: str) -> str:
    """Write ``run_dir``/report/index.html, then ``run_dir``/manifest.json; returns the page's path.

    Equal data gives equal bytes: no time is shown. Raises InputError when the folder lacks shards, scores or
    selection, or what it holds does not fit together.
    """
    page = render(collect(run_dir))
    path = files.join(run_dir, "report", "index.html")
    files.write_if_changed(path, page.encode("utf-8", "replace"))
    manifest.gather(run_dir)
    return path


def render(run: Run) -> str:
    """The whole page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count="{:,}".format,
        percent=lambda fraction: f"{100 * fraction:.1f}%",
        similarity=lambda value: f"{value:.4f}".replace("-", "\N{MINUS SIGN}"),
        signed=headline.signed,
        consent=words.consent,
        loss=words.loss,
        metric=words.metric,
        subset=words.subset,
    )
    style, script = (_HERE / "style.css").read_text("utf-8"), (_HERE / "report.js").read_text("utf-8")
    return environment.get_template("template.html").render(
        run=run,
        lead=headline.pairs_sentence(run.steps, run.pool.scored, run.pool.eligible, run.main_cut),
        failures=run.failures,
        findings=headline.model_findings(run.comparisons),
        histogram=views.histogram_view(run),
        bands=views.band_views(run),
        borders=views.border_views(run),
        swapped=views.swapped_views(run),
        tasks=views.task_views(run),
        losses=views.loss_view(run),
        style=style,
        script=script,
        style_digest=_digest(style),
        script_digest=_digest(script),
    )


def _digest(text: str) -> str:
    """A content security policy's name for an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
