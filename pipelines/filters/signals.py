"""Columns that a rule may name besides those of the tables: computed from a pair's caption and sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from clipsieve.pipelines.filters.captions import is_file_name, is_markup
from clipsieve.pipelines.score.language import identify


@dataclass(frozen=True)
class Signal:
    """A computed column: the columns that it is made of, how, and what it says."""

    inputs: tuple[str, ...]
    compute: Callable[..., pa.Array]
    """The inputs' arrays[N] -> array[N]. A caption is a string, never null."""
    doc: str


def _of_caption(dtype: pa.DataType, judge: Callable[[str], int | bool]) -> Callable[[pa.Array], pa.Array]:
    return lambda captions: pa.array([judge(caption) for caption in captions.to_pylist()], dtype)


def _language(captions: pa.Array) -> pa.Array:
    return pa.array(identify(captions.to_pylist()), pa.string())


def _shorter_side(*sizes: pa.Array) -> pa.Array:
    return pc.min_element_wise(*(size.cast(pa.float64()) for size in sizes), skip_nulls=False)


def _aspect_ratio(*sizes: pa.Array) -> pa.Array:
    longer = pc.max_element_wise(*(size.cast(pa.float64()) for size in sizes), skip_nulls=False)
    return pc.divide(longer, _shorter_side(*sizes))


_SIZES = ("original_width", "original_height")

SIGNALS = {
    "caption_chars": Signal(("caption",), _of_caption(pa.int32(), len), "characters in the caption"),
    "caption_words": Signal(
        ("caption",), _of_caption(pa.int32(), lambda text: len(text.split())), "words, split at white space"
    ),
    "language": Signal(("caption",), _language, "ISO 639 code of the caption's likeliest language"),
    "caption_is_file_name": Signal(
        ("caption",), _of_caption(pa.bool_(), is_file_name), "the caption is a file name, a number or a web address"
    ),
    "caption_is_markup": Signal(
        ("caption",), _of_caption(pa.bool_(), is_markup), "the caption holds HTML, an entity or a program's syntax"
    ),
    "shorter_side": Signal(_SIZES, _shorter_side, "pixels of the shorter side of the image as downloaded"),
    "aspect_ratio": Signal(_SIZES, _aspect_ratio, "its longer side by its shorter side"),
}
