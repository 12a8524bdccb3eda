"""Byte ranges are those of the files, local or not, however many are open."""

from __future__ import annotations

import gc
import os
from contextlib import closing

import fsspec
import pytest

from clipsieve.schemas import ranges
from clipsieve.schemas.errors import InputError
from clipsieve.schemas.ranges import RangeReader
from clipsieve.schemas.threads import map_ahead


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
    reader.prefetch(wanted)
    buffers = [memoryview(bytearray(20)) for _ in wanted]
    assert reader.read_into(wanted, buffers) == [20] * len(wanted)
    assert [bytes(buffer) for buffer in buffers] == reader.read(wanted)
    assert reader.read([]) == [] and reader.read_into([], []) == []
    assert len(reader._handles) == (2 if root == "local" else 0)
    with pytest.raises(InputError, match=r"9.tar: no such file"):
        reader.read([(f"{folder}/9.tar", 0, 1)])


def test_what_is_read_past_the_end_is_less(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(range(30)))
    assert RangeReader().read([(str(path), 20, 20), (str(path), 40, 5)]) == [bytes(range(20, 30)), b""]
    buffer = memoryview(bytearray(b"x" * 20))
    assert RangeReader().read_into([(str(path), 20, 20)], [buffer]) == [10]
    assert bytes(buffer) == bytes(range(20, 30)) + b"x" * 10


def test_threads_read_while_handles_come_and_go(tmp_path, monkeypatch):
    """With room for one handle, each read may close another's: no descriptor is read after it was closed."""
    monkeypatch.setattr(ranges, "_OPEN_FILES", 1)
    paths = [tmp_path / f"{n}.tar" for n in range(6)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 100)
    reader = RangeReader()
    wanted = [(str(paths[n % 6]), n % 90, 10) for n in range(3000)]
    with closing(map_ahead(lambda place: reader.read([place])[0], wanted, threads=8)) as read:
        assert list(read) == [bytes([n % 6]) * 10 for n in range(3000)]


def test_handles_are_closed_with_their_reader(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"abc")
    reader = RangeReader()
    reader.read([(str(path), 0, 3)])
    descriptor = reader._handles[str(path)]._descriptor
    os.fstat(descriptor)
    del reader
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
