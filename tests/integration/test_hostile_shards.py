"""A stranger's shard or task with EPS where a picture should be: Ghostscript is never started, and one line says so."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files as resources
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"
IMAGES = (".jpg", ".png", ".webp")


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to which a `gs`, the first on the PATH, writes that it was started; Pillow is seen to start it."""
    log, program = tmp_path / "started", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # what an earlier look for it found
    with suppress(OSError):
        Image.open(io.BytesIO(EPS)).load()
    assert "-sDEVICE" in log.read_text()
    log.unlink()
    return log


@pytest.fixture
def arguments(run_dir: Path, source, tmp_path: Path) -> dict[str, list[str]]:
    """The commands that read pictures, by name, each with its arguments; every picture that they find is EPS."""
    tasks = Path(shutil.copytree(source.tasks, tmp_path / "tasks"))
    for tar in tasks.rglob("*.tar"):
        _make_eps(tar)
    for tar in (run_dir / "shards").glob("*.tar"):
        pictures = _make_eps(tar)
        tar.with_name(f"{tar.stem}_stats.json").write_text(json.dumps({"successes": pictures}))
    shards, out, few = ["--shards", str(run_dir / "shards")], ["--out", str(tmp_path / "out")], ["--warmup-steps", "1"]
    return {
        "score": [*shards, *out, "--", "--runner=FnApiRunner"],
        "train": [*shards, *out, "--tower", str(source.tower), "--samples", "32", "--batch-size", "16", *few],
        "evaluate": ["--model", str(resources("clipsieve.pipelines") / "builtin"), "--data", str(tasks), *out],
        "report": [str(run_dir)],
    }


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("score", "shards/00000.tar: sample 000000000"),
        ("train", "shards/0000"),
        ("evaluate", "wds_shapes/test/0.tar: sample s0000"),
        ("report", "shards/0000"),
    ],
)
def test_eps_starts_nothing_and_is_one_line(
    name: str, place: str, arguments: dict[str, list[str]], ghostscript: Path, command: Callable
) -> None:
    ended = command(name, *arguments[name])
    assert ended.status in (1, 2, 3), ended.err
    said = [line for line in ended.err.splitlines() if "cannot be decoded" in line]
    assert len(said) == 1 and place in said[0] and "not a readable image of one of JPEG, PNG, WEBP" in said[0]
    assert "Traceback" not in ended.err
    assert not ghostscript.exists()


def _make_eps(path: Path) -> int:
    """Put EPS, with spaces after it, in the place of each picture of a tar, so that all offsets stay true.

    Returns how many pictures there were.
    """
    with tarfile.open(path) as tar:
        members = [(member.offset_data, member.size) for member in tar if member.name.endswith(IMAGES)]
    content = bytearray(path.read_bytes())
    for start, size in members:
        content[start : start + size] = EPS.ljust(size)
        assert len(EPS) <= size
    path.write_bytes(content)
    return len(members)
