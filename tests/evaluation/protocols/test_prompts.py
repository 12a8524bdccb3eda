from __future__ import annotations

import pytest

from clipsieve.evaluation.datasets.read import read_task
from clipsieve.evaluation.protocols.prompts import SETS, canonical, class_prompts
from clipsieve.schemas.errors import InputError

NAMES = ("Polaroid_camera", "T-shirt, tee", "cat")


@pytest.fixture
def task(tmp_path, noise_images, write_zero_shot):
    templates = ("A photo of a {c}.", "{c}!")
    return read_task(str(write_zero_shot(tmp_path / "wds_any", noise_images(1), [0], NAMES, templates)))


def test_sets_have_their_published_sizes():
    assert {name: len(templates) for name, templates in SETS.items()} == {"openai": 80, "simple": 7, "name": 1}
    assert all(template.count("{c}") == 1 for templates in SETS.values() for template in templates)


def test_the_folders_own_prompts_stay_as_they_are(task):
    assert class_prompts(task, "own", "openclip")[1] == ["A photo of a T-shirt, tee.", "T-shirt, tee!"]


def test_the_paper_lowercases_and_strips_punctuation_and_aliases(task):
    assert class_prompts(task, "own", "paper") == [
        ["a photo of a polaroid camera", "polaroid camera"],
        ["a photo of a tshirt", "tshirt"],
        ["a photo of a cat", "cat"],
    ]


@pytest.mark.parametrize(("text", "expected"), [("A  b_c\n(d)", "a b c d"), ("it's", "its"), ("", "")])
def test_canonical_is_big_visions(text, expected):
    assert canonical(text) == expected


def test_a_users_file(task, tmp_path):
    (tmp_path / "mine.txt").write_text("one {c}\ntwo {c}\n")
    assert class_prompts(task, str(tmp_path / "mine.txt"), "openclip")[2] == ["one cat", "two cat"]
    (tmp_path / "mine.txt").write_text("one\n")
    with pytest.raises(InputError, match=r"mine\.txt: line 1 has no \{c\}"):
        class_prompts(task, str(tmp_path / "mine.txt"), "openclip")


def test_a_word_that_is_neither_a_set_nor_a_file_is_refused(task):
    with pytest.raises(InputError, match="openia: no such file"):
        class_prompts(task, "openia", "openclip")
