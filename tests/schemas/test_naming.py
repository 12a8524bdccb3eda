"""Names of members, split by hand."""

from __future__ import annotations

import json

import pytest

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.naming import MemberNaming, split_plain

NAMES = {
    "000000012.jpg": ("000000012", "jpg"),
    "a.b.jpg": ("a.b", "jpg"),
    "part-7/Cat.JPEG": ("part-7/Cat", "jpg"),
    "x.v2.PNG": ("x.v2", "png"),
    "Ünï cödé.webp": ("Ünï cödé", "webp"),
    "a.caption.txt": ("a", "caption.txt"),
    "a.CAPTION.TXT": ("a", "caption.txt"),
    "a.txt": ("a", "txt"),
    "a.json": ("a", "json"),
    "folder.jpg/a.txt": ("folder.jpg/a", "txt"),
    "a.cls": None,
    "folder.jpg/a.npy": None,
    "a.jpg.tmp": None,
    "jpg.jpg": ("jpg", "jpg"),
    "README": None,
    ".jpg": None,
    "folder/.jpg": None,
    "a.folder/README": None,
}


@pytest.mark.parametrize(("name", "split"), NAMES.items())
def test_names_are_split(name, split):
    assert MemberNaming(captions=("caption.txt", "txt", "json:caption")).split(name) == split


def test_without_its_extension_a_caption_is_another_samples():
    assert MemberNaming(captions=("txt",)).split("a.caption.txt") == ("a.caption", "txt")


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "A.jpg", "a.b.jpg", "a", ".jpg", "a.jpg\n", "a.", "é.jpg"])
def test_other_names_than_plain_ones_are_none_of_ours(name):
    assert split_plain(name) is None
    assert split_plain("0a-1.jpg") == ("0a-1", "jpg")


def test_the_first_caption_that_a_sample_has_counts():
    naming = MemberNaming(captions=("txt", "json:text", "json:alt"))
    described = {"json": json.dumps({"text": None, "alt": "in json"}).encode()}
    assert naming.caption_of({"txt": b"a member"} | described, "x") == "a member"
    assert naming.caption_of(described, "x") == "in json"
    assert naming.caption_of({"json": b"{}"}, "x") is None
    assert naming.caption_member({"json", "jpg"}) == "json:text"
    assert naming.caption_member({"jpg"}) is None


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_a_json_that_is_none_is_an_error_in_one_line(data):
    with pytest.raises(InputError, match=r"^0.tar: sample a: its json cannot be read \(.*\)$"):
        MemberNaming(captions=("json:caption",)).caption_of({"json": data}, "0.tar: sample a")
