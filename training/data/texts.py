"""From a caption to the tokens that a tower sees: cut at its context length, or reduced to it as in CLIPA.

CLIPA (section 3.1) keeps a caption's first tokens, random ones in their order, one random stretch, or the words that
say most: nouns, then adjectives, then verbs, then the rest. The first and the last come to the same in every epoch;
the random masks are functions of a seed, (seed, position in the stream), so workers do not change them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipsieve.schemas.tokenizer import Tokenizer, tokenizer_for

FULL_LENGTH = 77
"""Tokens of a caption, the start's and the end's included, that a random mask draws from: CLIP's context."""
_STREAM = 1 << 31
"""Keeps a caption's draws apart from those of its image's views, which have the same seed and position."""
_RANKS = {"NN": 0, "JJ": 1, "VB": 2}
_REST = 3

Encode = Callable[[str], np.ndarray]
"""Caption -> int64[L], the part of the work that is the same in every epoch."""
Reduce = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
"""int64[L] and (seed, position) -> int64[context_length], the part that differs."""


def text_stages(text_mask: str, text_cfg: dict[str, Any]) -> tuple[Encode, Reduce]:
    """The two stages of a caption's way to int64[context_length], for a mask of TrainOptions."""
    length = int(text_cfg.get("context_length", FULL_LENGTH))
    if text_mask in ("random", "block"):
        tokenizer = tokenizer_for({**text_cfg, "context_length": max(length, FULL_LENGTH)})
        return lambda caption: tokenizer([caption])[0].numpy(), mask_of(text_mask, tokenizer, length)
    tokenizer = tokenizer_for(text_cfg)
    if text_mask == "syntax":
        from textblob.en import tag  # a second to import, half a second to load: for those who ask for it

        tag("loads its lexicon")  # here, before threads share it
        specials = len(specials_of(tokenizer).around)
        return lambda caption: tokenizer([syntax_mask(caption, length - specials)])[0].numpy(), _as_it_is
    return lambda caption: tokenizer([caption])[0].numpy(), _as_it_is


def syntax_mask(caption: str, words: int) -> str:
    """The ``words`` words of a caption that say most, in their order: CLIPA's syntax mask, as open_clip has it.

    Nouns come first, then adjectives, then verbs, then the rest; among equals the earlier (open_clip's sort leaves
    that open). The parts of speech are those of TextBlob's lexicon and rules, for English; a word that they do not
    know is a noun.
    """
    from textblob.en import tag

    tagged = tag(caption)
    ranks = np.array([_RANKS.get(part[:2], _REST) for _, part in tagged])
    kept = np.sort(np.argsort(ranks, kind="stable")[:words])
    return " ".join(tagged[index][0] for index in kept)


@dataclass(frozen=True)
class Specials:
    """The tokens that a tokenizer puts around every caption, and after it to fill the context."""

    around: np.ndarray
    before: int
    """How many of ``around`` stand before the caption."""
    padding: int


def specials_of(tokenizer: Tokenizer) -> Specials:
    """Found by tokenizing nothing and something."""
    nothing, something = (tokenizer([caption])[0].numpy() for caption in ("", "a"))
    padding = int(nothing[-1])
    around, with_word = _without_padding(nothing, padding), _without_padding(something, padding)
    if not len(around):  # SentencePiece fills the context with its end token
        return Specials(np.array([padding]), 0, padding)
    same = around == with_word[: len(around)]
    return Specials(around, int(np.argmin(same)) if not same.all() else len(around), padding)


def mask_of(text_mask: str, tokenizer: Tokenizer, length: int) -> Reduce:
    """The mask ``random`` or ``block``: what the tokenizer puts around a caption stays, a shorter caption too."""
    specials = specials_of(tokenizer)
    room = length - len(specials.around)

    def reduce(tokens: np.ndarray, seed: tuple[int, int]) -> np.ndarray:
        whole = _without_padding(tokens, specials.padding)
        if specials.around[-1] == specials.padding:
            whole = np.append(whole, specials.padding)
        content = whole[specials.before : len(whole) - (len(specials.around) - specials.before)]
        if len(content) > room:
            content = content[_kept(text_mask, len(content), room, np.random.default_rng((*seed, _STREAM)))]
        start, end = np.split(specials.around, [specials.before])
        reduced = np.concatenate([start, content, end])
        return np.pad(reduced, (0, length - len(reduced)), constant_values=specials.padding)

    return reduce


def _kept(text_mask: str, tokens: int, room: int, rng: np.random.Generator) -> np.ndarray:
    if text_mask == "random":
        return np.sort(rng.permutation(tokens)[:room])
    return rng.integers(tokens - room + 1) + np.arange(room)


def _without_padding(tokens: np.ndarray, padding: int) -> np.ndarray:
    meant = np.flatnonzero(tokens != padding)
    return tokens[: meant[-1] + 1] if len(meant) else tokens[:0]


def _as_it_is(tokens: np.ndarray, _: tuple[int, int]) -> np.ndarray:
    return tokens
