"""A SentencePiece model from captions: the same from the same, drawn by the seed, refused where there are too few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import canonicalize_text

from clipsieve.schemas.errors import InputError
from clipsieve.schemas.files import sha256_file
from clipsieve.schemas.manifest import read_manifest
from clipsieve.schemas.options import TokenizerOptions
from clipsieve.training.tokenizer import draw, run, shard_captions, train_pieces

RNG = np.random.default_rng(0)
WORDS = ["".join(RNG.choice(list("abcdefghij"), 5)) for _ in range(60)]
CAPTIONS = [" ".join(RNG.choice(WORDS, 6)).capitalize() + "!" for _ in range(400)]
SMALL = TokenizerOptions(vocab_size=60, canonicalize=True)


def test_a_model_has_the_specials_of_t5_and_the_size_that_was_asked_for():
    made = sentencepiece.SentencePieceProcessor(model_proto=train_pieces(CAPTIONS, SMALL))
    assert made.vocab_size() == 60
    assert (made.pad_id(), made.eos_id(), made.unk_id(), made.bos_id()) == (0, 1, 2, -1)


def test_equal_captions_give_equal_bytes_and_the_seed_draws_from_many():
    assert train_pieces(CAPTIONS, SMALL) == train_pieces(CAPTIONS, SMALL)
    drawn = [train_pieces(CAPTIONS, SMALL.model_copy(update={"captions": 80, "seed": seed})) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@settings(max_examples=50)
@given(st.integers(0, 30), st.integers(1, 20), st.integers(0, 99))
def test_captions_are_drawn_without_replacement(there, count, seed):
    captions = list(map(str, range(there)))
    drawn = draw(iter(captions), count, seed)
    assert len(set(drawn)) == len(drawn) == min(there, count) and set(drawn) <= set(captions)


def test_each_caption_is_as_likely_to_be_drawn():
    drawn = np.bincount([int(text) for seed in range(2000) for text in draw(map(str, range(10)), 3, seed)])
    assert np.abs(drawn - 600).max() < 5 * np.sqrt(2000 * 0.3 * 0.7)


def test_a_folder_tells_what_it_was_made_from_and_is_made_once(shards, rows, tmp_path):
    out, options = str(tmp_path / "tokenizer"), TokenizerOptions(vocab_size=22)
    manifest = run(shard_captions(shards), {"shards": shards}, out, options)
    downloaded = [row["caption"] for row in rows if row["status"] == "success"]
    assert list(shard_captions(shards)) == downloaded
    assert manifest == read_manifest(out) and manifest.counts.shown == {"captions": len(downloaded), "vocabulary": 22}
    assert manifest.digest == sha256_file(f"{out}/spiece.model")
    written = Path(out, "spiece.model").stat().st_mtime_ns
    assert run(iter(()), {"shards": shards}, out, options) == manifest
    assert Path(out, "spiece.model").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="done with another recipe or input: `vocab_size` was 22, now 40"):
        run(iter(()), {"shards": shards}, out, TokenizerOptions(vocab_size=40))


def test_a_refused_size_leaves_nothing_behind(shards, tmp_path):
    out = tmp_path / "tokenizer"
    with pytest.raises(InputError, match="Vocabulary size too high"):
        run(shard_captions(shards), {"shards": shards}, str(out), TokenizerOptions())
    assert not out.exists()


def test_captions_are_cleaned_before_they_are_counted(shards, tmp_path):
    canonical = [canonicalize_text(caption) for caption in CAPTIONS]
    out = str(tmp_path / "tokenizer")
    manifest = run([*CAPTIONS, "", "!!", None], {"shards": shards}, out, SMALL)
    assert Path(out, "spiece.model").read_bytes() == train_pieces(canonical, SMALL)
    assert manifest.counts.shown["captions"] == len(CAPTIONS)


@pytest.mark.parametrize(
    ("captions", "vocab_size", "reason"),
    [
        (CAPTIONS, 100_000, r"`vocab_size` 100000: Vocabulary size too high \(100000\). Please set it to a value <="),
        (CAPTIONS, 5, "`vocab_size` 5: Vocabulary size is smaller than required_chars"),
        ([], 50, "`vocab_size` 50: no caption"),
    ],
)
def test_a_vocabulary_that_the_captions_do_not_give_is_refused(captions, vocab_size, reason):
    with pytest.raises(InputError, match=f"^tokenizer: {reason}") as caught:
        train_pieces(captions, TokenizerOptions(vocab_size=vocab_size))
    assert "\n" not in str(caught.value)
