from __future__ import annotations

import os
import resource
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from clipsieve.schemas import files, tables
from clipsieve.schemas.errors import ClipsieveError, InputError

NOISE = np.random.default_rng(0).integers(0, 256, 3 << 20, np.uint8).tobytes()


@contextmanager
def small_disk() -> Iterator[None]:
    """No file may grow beyond 4 KiB: the system refuses the write as it does on a full disk, with another number."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def write_at_once(path: str) -> None:
    files.write_bytes(path, NOISE)


def write_in_pieces(path: str) -> None:
    """Fewer bytes than are buffered: the flush is what fails."""
    with files.atomic_write(path) as stream:
        for start in range(0, 10_000, 100):
            stream.write(NOISE[start : start + 100])


def write_a_table(path: str) -> None:
    data = pa.table({"uid": [NOISE[start : start + 16].hex() for start in range(0, 160_000, 16)]})
    tables.write_table(data, tables.PAIRS, path, ["uid"])


def write_row_groups(path: str) -> None:
    column = pa.array(np.frombuffer(NOISE, np.int64))
    with files.atomic_write(path) as stream, pq.ParquetWriter(stream, pa.schema({"n": pa.int64()})) as writer:
        writer.write_table(pa.table({"n": column}))


@pytest.mark.parametrize("write", [write_at_once, write_in_pieces, write_a_table, write_row_groups])
def test_a_write_that_finds_no_room_names_the_path_and_leaves_nothing(
    tmp_path: Path, write: Callable[[str], None]
) -> None:
    path = tmp_path / "a.parquet"
    with small_disk(), pytest.raises(ClipsieveError) as error:
        write(str(path))
    assert str(error.value) == (
        f"{path}: cannot be written: File too large; fix that and run the same command again to resume"
    )
    assert list(tmp_path.iterdir()) == []
    write(str(path))
    assert [each.name for each in tmp_path.iterdir()] == ["a.parquet"]


def test_a_folder_that_cannot_be_made_or_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ClipsieveError, match=r"file/a\.txt: cannot be written: File exists"):
        files.write_bytes(f"{tmp_path}/file/a.txt", b"")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(ClipsieveError, match=r"folder\.txt: cannot be written: Is a directory"):
        files.write_bytes(f"{tmp_path}/folder.txt", b"")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder.txt"]


def test_a_file_that_may_not_be_read_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(InputError, match="secret: cannot be read: Permission denied"), files.open_read(str(path)):
        pass


def test_what_the_disk_is_handed_while_a_file_grows_is_the_whole_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[tuple[int, int]] = []
    begin = files._SYNC_FILE_RANGE
    assert begin is not None or sys.platform != "linux"

    def noted(descriptor: int, start: int, size: int) -> None:
        handed.append((start, start + size))
        assert begin is None or begin(descriptor, start, size, files._SYNC_FILE_RANGE_WRITE) == 0

    monkeypatch.setattr(files, "_WRITE_BEHIND_BYTES", 2 << 20)
    monkeypatch.setattr(files, "_begin_writing", noted)
    with files.atomic_write(str(tmp_path / "large")) as stream:
        for start in range(0, 3 * len(NOISE), 300_000):
            stream.write((3 * NOISE)[start : start + 300_000])
    assert (tmp_path / "large").read_bytes() == 3 * NOISE
    assert handed[0][0] == 0
    assert [start for start, _ in handed[1:]] == [end for _, end in handed[:-1]]
    assert 0 <= 3 * len(NOISE) - handed[-1][1] < 3 << 20


def test_a_writer_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_bytes(str(path), b"old")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), files.atomic_write(str(path)) as stream:
            stream.write(b"new")
            raise error
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_has_the_modes_that_the_user_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_bytes(f"{tmp_path}/a.txt", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_leftovers_go_before_the_work_and_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "_manifest").mkdir()
    (tmp_path / "models").mkdir()
    kept = [tmp_path / "a.tmp.txt", tmp_path / ".hidden", tmp_path / "models" / ".a.tmp.1"]
    left = [tmp_path / ".a.tar.tmp.1", tmp_path / "_manifest" / ".m.json.tmp.2"]

    def leave() -> None:
        for path in (*kept, *left):
            path.write_bytes(b"")

    leave()
    with files.without_leftovers(str(tmp_path), str(tmp_path / "none")):
        assert not any(path.exists() for path in left)
        leave()
    assert all(path.exists() for path in left)
    with pytest.raises(KeyboardInterrupt), files.without_leftovers(str(tmp_path)):
        leave()
        raise KeyboardInterrupt
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


class Upload(AbstractBufferedFile):
    """An upload of parts, as S3's: seen only when it is committed."""

    def _initiate_upload(self) -> None:
        self.parts: list[bytes] = []

    def _upload_chunk(self, final: bool = False) -> bool:
        self.parts.append(self.buffer.getvalue())
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        self.fs.store[self.path] = b"".join(self.parts)

    def discard(self) -> None:
        self.parts = []


class ObjectStore(AbstractFileSystem):
    protocol = "teststore"
    store: dict[str, bytes] = {}  # noqa: RUF012

    def _open(self, path: str, mode: str = "rb", **kwargs: object) -> Upload:
        return Upload(self, path, mode, **kwargs)


def test_an_upload_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "filesystem", lambda path: (ObjectStore(), path))
    with files.atomic_write("whole") as stream:
        stream.write(b"abc")
    with pytest.raises(ValueError, match="stop"), files.atomic_write("half") as stream:
        stream.write(b"abc")
        raise ValueError("stop")
    assert ObjectStore.store == {"whole": b"abc"}


@pytest.mark.parametrize("root", ["local", "memory://remove"])
def test_remove_takes_files_and_whole_folders(tmp_path, root):
    root = str(tmp_path) if root == "local" else root
    names = ("a.txt", "b[1].txt", "folder/c.txt", "folder/deep/d.txt", "kept.txt", "b1.txt")
    paths = [files.join(root, name) for name in names]
    for path in paths:
        files.write_bytes(path, b"x")
    files.remove(paths[0], files.join(root, "never there"), paths[1], files.join(root, "folder"))
    assert [files.exists(path) for path in paths] == [False, False, False, False, True, True]
    assert not files.exists(files.join(root, "folder"))
    files.remove(*paths)
    assert not any(map(files.exists, paths))
