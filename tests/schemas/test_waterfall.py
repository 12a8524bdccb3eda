"""A waterfall is read as it was written; anything else at its place is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.waterfall import WATERFALL_NAME, RuleCounts, Waterfall, read_waterfall, write_waterfall

RULES = (
    RuleCounts(reason="short", text="caption_chars > 5", alone=30, in_order=30, only=20, both=(30, 10)),
    RuleCounts(reason="dark", text="light > 0.1", alone=15, in_order=5, only=5, both=(10, 15)),
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    waterfall = Waterfall(pairs=100, rules=RULES)
    assert waterfall.kept == 65
    write_waterfall(waterfall, str(tmp_path))
    assert read_waterfall(str(tmp_path)) == waterfall


def test_what_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=WATERFALL_NAME):
        read_waterfall(str(tmp_path))
    (tmp_path / WATERFALL_NAME).write_text('{"pairs": "many"}')
    with pytest.raises(InputError, match="not a waterfall of clipsieve"):
        read_waterfall(str(tmp_path))
