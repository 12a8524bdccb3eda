"""Which tokens of a caption are left: masks by hand, and against open_clip's where its own is well defined."""

from __future__ import annotations

from functools import cache

import nltk
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from clipsieve.training.data.texts import mask_of, specials_of, syntax_mask, text_stages

CAPTION = "an old man in a red coat walks his two small dogs along the wet street of a quiet town at night"
START, END = 49_406, 49_407


stages = cache(lambda mask, length: text_stages(mask, {"context_length": length, "vocab_size": 49_408}))
bpe = SimpleTokenizer(context_length=10)


def cut(mask, caption, seed=(0, 0), length=10):
    encode, reduce = stages(mask, length)
    return reduce(encode(caption), seed)


def words(tokens):
    return bpe.decode([token for token in tokens.tolist() if token not in (0, START, END)]).split()


def test_a_cut_caption_is_open_clips():
    theirs = bpe([CAPTION])[0].numpy()
    assert np.array_equal(cut("truncate", CAPTION), theirs)
    assert words(theirs) == CAPTION.split()[:8]


@settings(max_examples=40)
@given(st.integers(0, 10**9), st.sampled_from([3, 12, 60]))
def test_a_random_mask_keeps_words_in_their_order(position, length):
    tokens = cut("random", CAPTION, (7, position), length)
    left = words(tokens)
    assert tokens.shape == (length,) and tokens[0] == START and END in tokens
    assert len(left) == min(length - 2, len(CAPTION.split()))
    rest = iter(CAPTION.split())
    assert all(word in rest for word in left)  # a subsequence
    assert np.array_equal(tokens, cut("random", CAPTION, (7, position), length))


@settings(max_examples=40)
@given(st.integers(0, 10**9), st.sampled_from([3, 12, 60]))
def test_a_block_mask_keeps_one_stretch(position, length):
    left = words(cut("block", CAPTION, (7, position), length))
    assert len(left) == min(length - 2, len(CAPTION.split()))
    assert " ".join(left) in CAPTION


@pytest.mark.parametrize("mask", ["random", "block"])
def test_every_word_has_its_turn_and_a_short_caption_is_whole(mask):
    seen = {word for position in range(300) for word in words(cut(mask, CAPTION, (0, position)))}
    assert seen == set(CAPTION.split())
    short = bpe(["a red coat"])[0].numpy()
    assert np.array_equal(cut(mask, "a red coat"), short)


def test_a_syntax_mask_keeps_nouns_then_adjectives_then_verbs():
    """By hand: man, coat, dogs, street, town, night; old, red, small, wet, quiet; walks."""
    assert syntax_mask(CAPTION, 6) == "man coat dogs street town night"
    assert syntax_mask(CAPTION, 8) == "old man red coat dogs street town night"
    assert syntax_mask(CAPTION, 12) == "old man red coat walks small dogs wet street quiet town night"
    assert syntax_mask(CAPTION, 13).split()[0] == "an"
    assert syntax_mask("", 6) == ""
    assert words(cut("syntax", CAPTION)) == ["old", "man", "red", "coat", "dogs", "street", "town", "night"]


def test_the_syntax_mask_is_open_clips_but_for_ties(monkeypatch):
    """open_clip's function on the same parts of speech: the same number of words of each kind."""
    from open_clip import tokenizer as theirs
    from textblob.en import tag

    monkeypatch.setattr(theirs, "_nltk_init", True, raising=False)
    monkeypatch.setattr(nltk.tokenize, "word_tokenize", lambda text: [word for word, _ in tag(text)])
    monkeypatch.setattr(nltk, "pos_tag", lambda tokens: tag(" ".join(tokens)))
    for length in (3, 9, 16, 24):
        reduced = theirs.syntax_mask_tokenize([CAPTION], length, START, END, bpe.encode)[0].numpy()
        kinds = [
            sorted(part[:2] if part[:2] in ("NN", "JJ", "VB") else "rest" for _, part in tag(" ".join(words(tokens))))
            for tokens in (reduced, cut("syntax", CAPTION, length=length))
        ]
        assert kinds[0] == kinds[1]


def sticky(captions):
    """A tokenizer as big_vision's c4_en: no start, the end's token fills the context; a letter is a token."""
    rows = [[*map(ord, caption[:11])] for caption in captions]
    return torch.tensor([row + [1] * (12 - len(row)) for row in rows])


def ended(captions):
    """A tokenizer that ends a caption and does not start it."""
    rows = [[*map(ord, caption[:11]), 2] for caption in captions]
    return torch.tensor([row + [0] * (12 - len(row)) for row in rows])


@pytest.mark.parametrize("tokenizer, around, end", [(sticky, [1], [1]), (ended, [2], [2])])
def test_what_other_tokenizers_put_around_a_caption_is_found_and_kept(tokenizer, around, end):
    specials = specials_of(tokenizer)
    assert (specials.around.tolist(), specials.before) == (around, 0)
    tokens = tokenizer(["abcdefghij"])[0].numpy()
    reduced = mask_of("block", tokenizer, 5)(tokens, (0, 3))
    room = 5 - len(around)
    assert "".join(map(chr, reduced[:room])) in "abcdefghij" and reduced[room:].tolist() == end
    assert specials_of(bpe).before == 1
