"""Captions that are file names or markup, by hand, and prose that is neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsieve.pipelines.filters.captions import is_file_name, is_markup

PROSE = [
    "A dog on the beach",
    "No. 5",
    "Version 2.0 of the flag",
    "R&B singer on stage",
    "3 cats < 5 dogs, and a mouse > a flea",
    "T-shirt",
    "café: 10 x 15 cm",
    "He said [sic] it was image 5",
    "P",
    "photo",
    "IMG of a cat",
    "Tom & Jerry; a cartoon",
    "I <3 you",
    "a photo.",
    "",
]


@pytest.mark.parametrize("caption", PROSE)
def test_prose_is_neither(caption: str) -> None:
    assert not is_file_name(caption)
    assert not is_markup(caption)


@pytest.mark.parametrize(
    "caption",
    ["beach-2.jpg", "My holiday (3).JPEG", " IMG_20200101_123456 ", "DSC00012", "image 7",
     "Screenshot 2024-01-02 at 10.11",
     "user_home", "1234-5678", "12", "https://example.org/a", "www.example.org/x.html",
     "books-aj.svg", "P1010023",
     "d41d8cd98f00b204e9800998ecf8427e", "photo (1)"],
)  # fmt: skip
def test_file_names(caption: str) -> None:
    assert is_file_name(caption)


@pytest.mark.parametrize(
    "caption",
    ["<b>sale</b>", "a <br/> b", "R&amp;B", "it&#39;s", "HASH(0x862bbb8)", "{{ title }}", "[img]x[/img]",
     "[object Object]", "\\u003cp", "<?php echo", "${name}", "[caption id=1] a view"],
)  # fmt: skip
def test_markup(caption: str) -> None:
    assert is_markup(caption)


@given(st.lists(st.sampled_from(("a", "house", "by", "the", "lake", "in", "winter")), min_size=2, max_size=12))
def test_words_in_a_row_are_no_file_name(words: list[str]) -> None:
    caption = " ".join(words)
    assert not is_file_name(caption) and not is_markup(caption)
    assert is_file_name(f"{caption}.jpg") and is_markup(f"<p>{caption}")


@given(st.text(max_size=60))
def test_any_text_can_be_judged(caption: str) -> None:
    assert is_file_name(caption) == is_file_name(f" {caption} ")
    is_markup(caption)
