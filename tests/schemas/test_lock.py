from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.lock import in_turn, only_writer

HOLDER = """
import subprocess, sys
from clipsieve.schemas.lock import only_writer
with only_writer(*sys.argv[1:]):
    child = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.read()
    child.kill()
"""


@contextmanager
def holder(*folders: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, with a child of its own, that holds ``folders`` until its input ends."""
    command = [sys.executable, "-c", HOLDER, *map(str, folders)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = process.stdout.readline()
        yield process
        process.communicate("")
    if process.returncode:
        subprocess.run(["kill", child.strip()], check=True)


def test_a_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    shards, scores = tmp_path / "run" / "shards", tmp_path / "run" / "scores"
    with holder(shards):
        with pytest.raises(InputError, match=f"^{shards}: another command is at work in this folder; .*--out$"):
            only_writer(str(scores), str(shards)).__enter__()
        with only_writer(str(scores), str(tmp_path / "run")):
            pass
    with only_writer(str(shards)):
        assert list(shards.iterdir()) == []


def test_a_writer_that_is_killed_holds_nothing_though_its_children_live(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
        with only_writer(str(tmp_path)):
            pass


def test_what_one_of_several_refuses_frees_the_others(tmp_path: Path) -> None:
    free, held = str(tmp_path / "free"), str(tmp_path / "held")
    with only_writer(held), pytest.raises(InputError, match="held: another command"), only_writer(free, held):
        pass
    assert not Path(free).exists()
    with only_writer(free):
        pass


def test_a_folder_in_which_nothing_was_written_is_not_left(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with only_writer(str(folder)):
        assert folder.is_dir()
    assert not folder.exists()
    folder.mkdir()
    with only_writer(str(folder)):
        pass
    assert folder.is_dir()
    with only_writer(str(folder / "deeper")):
        (folder / "deeper" / "file").write_bytes(b"")
    assert (folder / "deeper" / "file").exists()


def test_a_failure_within_ends_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), only_writer(str(tmp_path)):
        raise KeyError
    with only_writer(str(tmp_path)):
        pass


def test_a_bucket_is_written_without_a_lock() -> None:
    with only_writer("memory://bucket/shards"), only_writer("memory://bucket/shards"):
        pass


@pytest.mark.parametrize("code", [errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_where_folders_cannot_be_locked_it_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As a network file system says it, which is not to be had here; what is none of these is an error."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(code, "by the file system")

    monkeypatch.setattr(fcntl, "flock", refuse)
    if code == errno.EIO:
        with pytest.raises(OSError, match="by the file system"), only_writer(str(tmp_path)):
            pass
    else:
        with only_writer(str(tmp_path)):
            pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ClipsieveError, match="file: cannot be written: File exists"), only_writer(f"{tmp_path}/file"):
        pass


def test_a_piece_of_work_has_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    with in_turn(str(path)), path.open("rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(ClipsieveError, match="cannot be written"), in_turn(str(path / "below")):
        pass


def test_who_waits_for_a_piece_of_work_comes_after_it(tmp_path: Path) -> None:
    path, said = str(tmp_path / ".lock"), []

    def wait() -> None:
        with in_turn(path):
            said.append("second")

    thread = Thread(target=wait)
    with in_turn(path):
        thread.start()
        said.append("first")
    thread.join()
    assert said == ["first", "second"]
