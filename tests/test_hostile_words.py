"""A stranger's words in every table of the terminal: shown, without their controls and markup."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from clipsieve.evaluation.compare.run import Comparison, Line
from clipsieve.evaluation.compare.show import comparison_tables
from clipsieve.pipelines.explain import show as explain
from clipsieve.pipelines.explain.find import Explanation, Found
from clipsieve.pipelines.filters.show import waterfall_table
from clipsieve.pipelines.takedown import show as takedown
from clipsieve.pipelines.takedown.plan import TakedownPlan
from clipsieve.schemas.terminal import printable
from clipsieve.schemas.waterfall import RuleCounts, Waterfall, write_waterfall

WORDS = [
    "\x1b]0;owned\x07a cat",
    "\x1b[2J\x1b[H",
    "\x9b31mred",
    "good\rbad\x08",
    "\u202egpj",
    "[bold]x[/bold]",
    "[/]",
    ":cat:",
]


def explained(word: str, _: Path) -> RenderableType:
    found = Found(f"run/{word}.parquet", 1, {"caption": word, word: 3, "key": word, "tar_offset": 0, "tar_size": 1})
    return explain.show(Explanation("0" * 32, word, (found,), (found,), (found,), (word,), (found,), (word,), word))


def taken_down(word: str, _: Path) -> RenderableType:
    plan = TakedownPlan(
        opt_out="",
        begun_at="",
        pairs=1,
        touched={word: {word: 1}},
        folder_pairs={word: 1},
        digests={},
        models={word: 1},
    )
    return takedown.show(plan, word, dry_run=False)


def not_taken_down(word: str, _: Path) -> RenderableType:
    plan = TakedownPlan(opt_out="", begun_at="", pairs=0, touched={}, folder_pairs={}, digests={}, models={})
    return takedown.show(plan, word, dry_run=True)


def compared(word: str, _: Path) -> RenderableType:
    (table,) = comparison_tables(Comparison(word, (word,), (Line(word, word, word, 0.5, None, None),), (), ()))
    return table


def filtered(word: str, folder: Path) -> RenderableType:
    rule = RuleCounts(reason=word, text=f"not {word}", alone=1, in_order=1, only=1, both=(1,))
    write_waterfall(Waterfall(pairs=2, rules=(rule,)), str(folder))
    return waterfall_table(str(folder))


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("shown", [explained, taken_down, not_taken_down, compared, filtered])
def test_a_table_shows_a_strangers_words(
    shown: Callable[[str, Path], RenderableType], word: str, tmp_path: Path
) -> None:
    stream = io.StringIO()
    Console(file=stream, width=240).print(shown(word, tmp_path))
    text = stream.getvalue()
    assert text.replace("\n", "").isprintable()
    assert printable(word) in text
