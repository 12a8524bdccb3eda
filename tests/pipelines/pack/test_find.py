"""The pictures below a folder: which files are some, in which order, and where their captions are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clipsieve.pipelines.pack.find import iter_pictures
from clipsieve.pipelines.pack.paths import Root
from clipsieve.schemas.errors import InputError


def listed(
    folder: Path, root: Path | None = None, captions: tuple[str, ...] = ("txt", "json:caption")
) -> dict[str, str]:
    tables = iter_pictures(str(folder), Root.of(str(root or folder)), captions)
    return {row["url"]: row["caption"] for table in tables for row in table.to_pylist()}


@pytest.mark.parametrize(
    ("files", "caption"),
    [
        ({"a.txt": "a cat\n"}, "a cat"),
        ({"a.TXT": "a cat"}, "a cat"),
        ({"a.jpg.txt": "a cat"}, "a cat"),
        ({"a.txt": "\ufeffa cat\r\n"}, "a cat"),
        ({"a.txt": "two\nlines"}, "two\nlines"),
        ({"a.txt": b"caf\xe9"}, "caf\N{REPLACEMENT CHARACTER}"),
        ({"a.json": '{"caption": "a cat"}'}, "a cat"),
        ({"a.jpg.json": '{"caption": "a cat"}'}, "a cat"),
        ({"a.json": '{"caption": "\\ud800"}'}, "?"),
        ({"a.txt": "text", "a.json": "broken"}, "text"),
        ({"a.json": '{"caption": 7}'}, ""),
        ({"a.json": "{}"}, ""),
        ({"b.txt": "another's"}, ""),
        ({"a.caption": "of no known extension"}, ""),
        ({"a.txt": b"x" * (2 << 20)}, ""),
        ({}, ""),
    ],
)
def test_a_caption_is_next_to_its_picture(tmp_path: Path, files: dict[str, bytes | str], caption: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    assert listed(tmp_path) == {"a.jpg": caption}


def test_captions_are_where_the_options_say(tmp_path: Path) -> None:
    for name, content in {
        "a.v2.png": "",
        "a.v2.caption.txt": "a member of another name",
        "a.v2.json": json.dumps({"text": "in the json"}),
        "a.v2.txt": "a text",
    }.items():
        (tmp_path / name).write_text(content)
    for captions, expected in {
        ("caption.txt",): "a member of another name",
        ("json:text",): "in the json",
        ("json:nothing", "TXT"): "a text",
    }.items():
        assert listed(tmp_path, captions=captions) == {"a.v2.png": expected}


def test_pictures_come_by_folder_and_name_and_others_are_left_out(tmp_path: Path) -> None:
    for name in (
        "b.JPG", "a.webp", "z/1.png", "z/y/2.gif", "c/3.jpeg", "d/4.HEIC", "c/notes.txt", "shards/0.tar",
        ".hidden.jpg", "._b.JPG", ".thumbnails/5.jpg", "jpg", "c/Ä ö.bmp",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    expected = ["a.webp", "b.JPG", "c/3.jpeg", "c/Ä ö.bmp", "d/4.HEIC", "z/1.png", "z/y/2.gif"]
    assert list(listed(tmp_path)) == expected
    assert list(listed(tmp_path / "z", tmp_path)) == ["z/1.png", "z/y/2.gif"]


def test_links_lead_to_no_caption_outside_and_into_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, outside = tmp_path / "photos", tmp_path / "outside"
    photos.mkdir()
    outside.mkdir()
    (outside / "secret.txt").write_text("a secret")
    (outside / "0.jpg").touch()
    for name, target in {"a.txt": outside / "secret.txt", "b.txt": Path("c.txt"), "more": outside}.items():
        (photos / name).symlink_to(target)
    for name in ("a.jpg", "b.jpg", "c.txt"):
        (photos / name).write_text(name)
    os.mkfifo(photos / "c.jpg.txt")
    (photos / "c.jpg").touch()
    assert listed(photos) == {"a.jpg": "", "b.jpg": "c.txt", "c.jpg": ""}
    assert "1 links to folders were not entered, the first" in capsys.readouterr().err


def test_a_name_that_is_not_utf_8_is_a_row(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")).touch()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("a cup")
    assert listed(tmp_path) == {"caf\N{REPLACEMENT CHARACTER}.jpg": "a cup"}


def test_a_json_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match=r"a.jpg: its json cannot be read \(a JSON list, not an object\)"):
        listed(tmp_path)
