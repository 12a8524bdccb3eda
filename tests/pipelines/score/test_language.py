"""The language of captions: clear cases, and a careful caption with its translations."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clipsieve.pipelines.score.language import identify

LAB = os.environ.get("CLIPSIEVE_LAB_DATA")


def test_clear_cases() -> None:
    captions = [
        "A small dog runs along the beach in the evening sun",
        "Ein kleiner Hund läuft in der Abendsonne am Strand entlang",
        "Un petit chien court sur la plage\nau soleil du soir",
        "Маленькая собака бежит по пляжу",
        "小さな犬が夕日の中で浜辺を走る",
    ]
    assert identify(captions) == ["en", "de", "fr", "ru", "ja"]


def test_without_a_letter_there_is_no_language() -> None:
    assert identify(["", " \n", "12-34", "★ 100 %"]) == [None] * 4
    assert identify([]) == []


@pytest.mark.skipif(LAB is None, reason="CLIPSIEVE_LAB_DATA names no folder with stamps.parquet")
def test_translations_are_told_from_english() -> None:
    rows = pq.read_table(Path(str(LAB)) / "stamps.parquet", columns=["caption", "translations"]).to_pylist()
    english = [row["caption"] for row in rows if len(row["caption"].split()) > 3]
    others = [
        text for row in rows for code, text in row["translations"] if code in ("de", "fr", "es", "ru", "ja", "pl")
    ]
    kept = sum(code == "en" for code in identify(english)) / len(english)
    let_through = sum(code == "en" for code in identify(others)) / len(others)
    assert kept > 0.94 and let_through < 0.08
