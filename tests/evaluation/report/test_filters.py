"""The report's waterfall and overlap, and the section where a run has filters."""

from __future__ import annotations

import json
from pathlib import Path

from clipsieve.evaluation.report.filters import filters_view
from clipsieve.evaluation.report.page import run
from clipsieve.schemas import manifest
from clipsieve.schemas.counts import FilterCounts
from clipsieve.schemas.options import FilterOptions
from clipsieve.schemas.waterfall import RuleCounts, Waterfall, write_waterfall

WATERFALL = Waterfall(
    pairs=56,
    rules=(
        RuleCounts(reason="few_words", text="caption_words > 2", alone=14, in_order=14, only=7, both=(14, 7, 0)),
        RuleCounts(reason="<b>dark</b>", text="light > 0.1", alone=7, in_order=0, only=0, both=(7, 7, 0)),
        RuleCounts(reason="never", text="never", alone=0, in_order=0, only=0, both=(0, 0, 0)),
    ),
)


def test_bars_and_shares() -> None:
    view = filters_view(WATERFALL)
    assert (view.pairs, view.kept) == (56, 42)
    assert [(rule.left, rule.left_width, rule.removed_width) for rule in view.rules] == [
        (42, 75.0, 25.0),
        (42, 75.0, 0.0),
        (42, 75.0, 0.0),
    ]
    assert [[cell.share for cell in rule.cells] for rule in view.rules] == [[1, 0.5, 0], [1, 1, 0], [None] * 3]
    assert [[cell.shade for cell in rule.cells] for rule in view.rules] == [[4, 2, 0], [4, 4, 0], [0, 0, 0]]


def _add_filters(run_dir) -> None:
    folder = str(run_dir / "filters")
    begun = manifest.begin(folder, FilterOptions(), {"scores": "ab" * 32})
    write_waterfall(WATERFALL, folder)
    manifest.finish(folder, begun, FilterCounts(pairs=56, kept=42), "cd" * 32)


def test_a_run_with_filters_has_the_section(run_dir) -> None:
    without = Path(run(str(run_dir))).read_text("utf-8")
    assert 'id="filters"' not in without
    _add_filters(run_dir)
    page = Path(run(str(run_dir))).read_text("utf-8")
    words = " ".join(page.split())
    assert "Of 56 scored pairs no rule rejects 42." in words
    assert (
        "1. too few words" in words
        and "\N{MINUS SIGN}14 in this order" in words
        and "7 that no other rule does" in words
    )
    assert 'href="#filters"' in page and "&lt;b&gt;dark&lt;/b&gt;" in page and "<b>dark" not in page
    assert "filters" in json.loads((run_dir / "manifest.json").read_text())["stages"]


def test_filters_that_are_not_finished_are_not_shown(run_dir) -> None:
    manifest.begin(str(run_dir / "filters"), FilterOptions(), {"scores": "ab" * 32})
    assert 'id="filters"' not in Path(run(str(run_dir))).read_text("utf-8")
