"""The README's five lines, run as they are written but for what is not here: a large pool, and a large model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.documents import ROOT, blocks, commands_of_line
from tests.integration.conftest import ONE_WORKER, Source

SMALLER = {"open_clip:ViT-B-32@vit_b_32.safetensors": "builtin", "10M": "10"}


def test_the_five_lines_go_from_a_table_to_a_report(
    source: Source, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = (text for text in blocks((ROOT / "README.md").read_text("utf-8"), "") if "--pairs pairs.parquet" in text)
    further = {
        "download": ["--allow-host", source.address, *ONE_WORKER],
        "score": ONE_WORKER,
        "select": ONE_WORKER,
        "train": ["--samples", "64", "--batch-size", "16", "--warmup-steps", "1"],
    }
    shutil.copy(source.pairs, tmp_path / "pairs.parquet")
    monkeypatch.chdir(tmp_path)
    assert len(block.splitlines()) == 5
    for line in block.splitlines():
        for _, name, *arguments in commands_of_line(line):
            smaller = [SMALLER.get(word, word) for word in arguments]
            ended = command(name, *smaller, *further.get(name, []))
            assert ended.status == 0, ended.err
    assert Path(ended.out.splitlines()[-1]).resolve() == tmp_path / "run" / "report" / "index.html"
    assert (tmp_path / "run" / "report" / "index.html").exists()
