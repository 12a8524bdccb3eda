"""Byte ranges are those of the files, local or not, however many are open."""

from __future__ import annotations

import fsspec
import pytest

from clipsieve.schemas.errors import InputError
from clipsieve.training.data import ranges
from clipsieve.training.data.ranges import RangeReader


@pytest.mark.parametrize("root", ["local", "memory://ranges"])
def test_each_range_holds_its_bytes(tmp_path, root, monkeypatch):
    monkeypatch.setattr(ranges, "_OPEN_FILES", 2)
    folder = str(tmp_path) if root == "local" else root
    contents = {f"{folder}/{n}.tar": bytes([n]) * 50 + bytes(range(100)) for n in range(5)}
    for path, content in contents.items():
        with fsspec.open(path, "wb") as stream:
            stream.write(content)
    reader = RangeReader()
    wanted = [(path, start, 20) for start in (0, 45, 100) for path in contents]
    assert reader.read(wanted) == [contents[path][start : start + 20] for path, start, _ in wanted]
    assert reader.read([]) == []
    with pytest.raises(InputError, match=r"9.tar: no such file"):
        reader.read([(f"{folder}/9.tar", 0, 1)])
