"""Captions to token ids by SentencePiece, against the library itself and the rules that the paper's code has."""

from __future__ import annotations

import importlib.util
import io
import json

import open_clip
import pytest
import sentencepiece
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer, canonicalize_text

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.models import load_model, save_model
from clipsieve.schemas.tokenizer import PIECES_NAME, SentencePiece, tokenizer_for

WORDS = ["a", "red", "green", "blue", "small", "large", "round", "square", "box", "ball", "car", "dog", "cat", "on"]
CAPTIONS = [" ".join(WORDS[i % 7 :: 1 + i % 5]) for i in range(200)]
END = 1


def pieces(**settings):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CAPTIONS),
        model_writer=model,
        vocab_size=36,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def model():
    return pieces(pad_id=0, eos_id=END, unk_id=2, bos_id=-1)


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("pieces") / "mine.model"
    path.write_bytes(model)
    return str(path)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "Größe", "CAT,", "zebra"]), max_size=12), st.integers(2, 9))
def test_pieces_then_the_end_token_to_the_last_place(model, words, length):
    """Against the library: its pieces, cut to leave one place, and the end token in all that are left."""
    text = " ".join(words)
    expected = sentencepiece.SentencePieceProcessor(model_proto=model).encode(text)[: length - 1]
    (row,) = SentencePiece(model, length)([text]).tolist()
    assert row == expected + [END] * (length - len(expected))


def test_a_configuration_names_the_file_and_the_cleaning(model_file):
    text_cfg = {"hf_tokenizer_name": model_file, "context_length": 8, "tokenizer_kwargs": {"clean": "canonicalize"}}
    mine = tokenizer_for(text_cfg)
    assert torch.equal(mine(["A Red_Car!!", "don't"]), mine([canonicalize_text("A Red_Car!!"), "dont"]))
    assert not torch.equal(mine(["RED"]), tokenizer_for({**text_cfg, "tokenizer_kwargs": {}})(["RED"]))


def test_clips_byte_pairs_are_cleaned_as_open_clip_does():
    mine = tokenizer_for({"vocab_size": 49_408, "context_length": 8, "tokenizer_kwargs": {"clean": "canonicalize"}})
    texts = ["A Red_Car!!", "don't, &amp; do"]
    assert torch.equal(mine(texts), SimpleTokenizer(context_length=8, clean="canonicalize")(texts))


CLEANINGS = ("lower", "whitespace", "canonicalize")
OURS = {clean: tokenizer_for({"context_length": 24, "tokenizer_kwargs": {"clean": clean}}) for clean in CLEANINGS}
THEIRS = {clean: SimpleTokenizer(context_length=24, clean=clean) for clean in CLEANINGS}
PIECES = ["&amp;", "&lt;", "&amp;quot;", "cafÃ©", "\x1b[31m", "\r\n", "\x85", "\x00", "\t", "ﬁ", "“", "\uff26", "It's"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text() | st.text("aB '&;<_.,#x1~\\", max_size=9) | st.sampled_from(PIECES), max_size=8).map("".join))
@pytest.mark.parametrize("clean", CLEANINGS)
def test_a_caption_has_open_clips_tokens_whatever_is_in_it(clean, caption):
    assert torch.equal(OURS[clean]([caption]), THEIRS[clean]([caption]))


@pytest.mark.parametrize("clean", CLEANINGS)
def test_every_printable_ascii_pair_has_open_clips_tokens(clean):
    """All that may skip the mending, two by two, and each alone."""
    letters = [chr(code) for code in range(32, 127)]
    captions = [*letters, *(f"a{first}{second}b" for first in letters for second in letters)]
    assert torch.equal(OURS[clean](captions), THEIRS[clean](captions))


def test_a_model_folder_carries_its_pieces_wherever_it_goes(model_file, tmp_path):
    text_cfg = {"context_length": 8, "vocab_size": 36, "width": 32, "heads": 2, "layers": 1}
    text_cfg |= {"hf_tokenizer_name": model_file}
    vision_cfg = {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16}
    model_cfg = {"embed_dim": 16, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    built = open_clip.model.CLIP(**model_cfg)
    for name in ("one", "two"):
        save_model(str(tmp_path / name), built, model_cfg, {"size": 16})
    first, second = (load_model(str(tmp_path / name)) for name in ("one", "two"))
    assert first.digest == second.digest
    assert torch.equal(first.tokenizer(["a red box"]), tokenizer_for(text_cfg)(["a red box"]))
    config = json.loads((tmp_path / "one" / "open_clip_config.json").read_text())
    assert config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] == PIECES_NAME
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
        "spiece.model",
        "tokenizer_config.json",
    ]
    if importlib.util.find_spec("transformers"):
        theirs = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'one'}")
        assert torch.equal(theirs(CAPTIONS), first.tokenizer(CAPTIONS))


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "bad.model").write_bytes(b"no pieces")
    with pytest.raises(InputError, match=r"bad.model: not a SentencePiece model; `clipsieve tokenizer` makes one"):
        tokenizer_for({"hf_tokenizer_name": str(tmp_path / "bad.model")})
    (tmp_path / "endless.model").write_bytes(pieces(eos_id=-1))
    with pytest.raises(InputError, match=r"endless.model: a SentencePiece model without an end token"):
        tokenizer_for({"hf_tokenizer_name": str(tmp_path / "endless.model")})
    with pytest.raises(InputError, match=r"nowhere.model: no such file"):
        tokenizer_for({"hf_tokenizer_name": str(tmp_path / "nowhere.model")})


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="transformers is installed")
def test_hugging_faces_tokenizers_want_transformers():
    with pytest.raises(InputError, match="bert-base-uncased: it needs transformers; pip install transformers"):
        tokenizer_for({"hf_tokenizer_name": "bert-base-uncased"})
