"""Folders for what can be made again: the user's own, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsieve.schemas.errors import ClipsieveError, InputError
from clipsieve.schemas.scratch import scratch_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_below_one_of_the_user_alone(temporary: Path) -> None:
    folder = Path(scratch_folder("tars"))
    assert folder.parent.parent == temporary and folder.parent.stat().st_mode & 0o777 == 0o700
    assert scratch_folder("tars") == str(folder)


@pytest.mark.parametrize("kind", ["link", "writable"])
def test_what_somebody_else_may_have_made_is_refused(temporary: Path, kind: str) -> None:
    own = Path(scratch_folder("tars")).parent
    own.rmdir()
    if kind == "link":
        (temporary / "elsewhere").mkdir()
        own.symlink_to(temporary / "elsewhere")
    else:
        own.mkdir()
        own.chmod(0o777)
    with pytest.raises(InputError, match="not a folder of this user alone; remove it, or set TMPDIR"):
        scratch_folder("tars")


def test_where_there_is_no_temporary_folder_it_is_named(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "gone"))
    with pytest.raises(ClipsieveError, match=r"gone/clipsieve-\d+: cannot be written"):
        scratch_folder("tars")
