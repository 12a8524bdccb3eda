"""Text to token ids, as a model's configuration says: CLIP's byte-pair encoding, SentencePiece, or Hugging Face's.

The merges of CLIP's encoding are ordered by how often they apply, so the first of them are an encoding of their own:
a tower with ``vocab_size`` 8192 uses the first 7678 merges and needs a sixth of the embedding table. A model folder
carries its merges as ``bpe.txt.gz``, which ``open_clip.tokenizer.SimpleTokenizer(bpe_path=…)`` reads.

A SentencePiece model is named in ``text_cfg`` where open_clip has ``hf_tokenizer_name``, by a path that ends in
``.model``. A model folder carries it as ``spiece.model`` with the configuration by which transformers' T5 tokenizer
reads it, so that ``open_clip.get_tokenizer("local-dir:FOLDER")`` finds it where transformers is installed.

Captions are first cleaned as ``tokenizer_kwargs.clean`` says, open_clip's word: ``canonicalize`` is big_vision's.
"""

from __future__ import annotations

import gzip
import io
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import sentencepiece
import torch
from open_clip.tokenizer import SimpleTokenizer, canonicalize_text, default_bpe, get_clean_fn, whitespace_clean

from clipsieve.schemas import files, strict_json
from clipsieve.schemas.errors import InputError

Tokenizer = Callable[[Sequence[str]], torch.Tensor]
"""captions[N] -> int64[N, context_length], padded after the end token: with 0, or, SentencePiece, with that token."""

CLIP_VOCABULARY = 49_408
MERGES_NAME, PIECES_NAME = "bpe.txt.gz", "spiece.model"
"""The tokenizer's file in a model folder."""
CANONICAL = {"clean": "canonicalize"}
"""``tokenizer_kwargs`` of captions in lower case and without punctuation, as big_vision has them."""
_BYTES_AND_SPECIALS = 2 * 256 + 2
_PIECES_SUFFIX = ".model"
_WORDS_KEPT = 1 << 16


class BytePairs(SimpleTokenizer):
    """open_clip's tokenizer and its token ids, four times as fast: plain captions need no mending, words come again."""

    def __init__(self, merges: str | io.BytesIO, context_length: int, clean: str = "lower", **settings: Any) -> None:
        super().__init__(merges, context_length=context_length, clean=clean, **settings)
        self.clean_fn = cleaner(clean)
        self._word_ids: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Token ids of a caption, without the start and the end."""
        ids: list[int] = []
        for word in self.pat.findall(self.clean_fn(text)):
            known = self._word_ids.get(word)
            ids += self._encode_word(word) if known is None else known
        return ids

    def _encode_word(self, word: str) -> list[int]:
        letters = "".join(self.byte_encoder[byte] for byte in word.encode())
        ids = [self.encoder[piece] for piece in self.bpe(letters).split(" ")]
        if len(self._word_ids) < _WORDS_KEPT:
            self._word_ids[word] = ids
        return ids


class SentencePiece:
    """T5's and SigLIP's use of a SentencePiece model: pieces, end token, and that again to fill the context.

    So the last position holds the end token for every caption (big_vision's ``eos="sticky"``, ``pad_value=1``).
    """

    def __init__(self, model: bytes, context_length: int, clean: str = "whitespace") -> None:
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._context_length, self._clean = context_length, cleaner(clean)

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        end = self._pieces.eos_id()
        tokens = torch.full((len(texts), self._context_length), end)
        for row, ids in zip(tokens, self._pieces.encode([self._clean(text) for text in texts]), strict=True):
            kept = ids[: self._context_length - 1]
            row[: len(kept)] = torch.tensor(kept)
        return tokens


def cleaner(name: str) -> Callable[[str], str]:
    """open_clip's cleaning of this name; a caption of printable ASCII without entities is spared ftfy."""
    rest = {"lower": _lower, "whitespace": whitespace_clean, "canonicalize": canonicalize_text}[name]
    return partial(_clean, whole=get_clean_fn(name), rest=rest)


def _clean(text: str, whole: Callable[[str], str], rest: Callable[[str], str]) -> str:
    is_plain = text.isascii() and text.isprintable() and "&" not in text
    return rest(text) if is_plain else whole(text)


def _lower(text: str) -> str:
    return str(whitespace_clean(text).lower())


def truncated_bpe(vocab_size: int) -> bytes:
    """CLIP's merges file, gzipped, cut so that its vocabulary has ``vocab_size`` entries; equal sizes, equal bytes."""
    if not _BYTES_AND_SPECIALS < vocab_size <= CLIP_VOCABULARY:
        raise InputError(f"vocab_size {vocab_size} is not within {_BYTES_AND_SPECIALS + 1}..{CLIP_VOCABULARY}")
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as stream:
        header_and_merges = stream.read().split("\n")[: vocab_size - _BYTES_AND_SPECIALS + 1]
    return gzip.compress("\n".join(header_and_merges).encode(), mtime=0)


def tokenizer_for(text_cfg: dict[str, Any]) -> Tokenizer:
    """The tokenizer that an open_clip ``text_cfg`` asks for.

    Raises InputError for a SentencePiece file that is none, and where a Hugging Face tokenizer is requested and
    transformers is not installed.
    """
    context_length = text_cfg.get("context_length", 77)
    settings = text_cfg.get("tokenizer_kwargs") or {}
    name = text_cfg.get("hf_tokenizer_name")
    if name and name.endswith(_PIECES_SUFFIX):
        read_pieces(name)
        return SentencePiece(files.read_bytes(name), context_length, **settings)
    if name:
        try:
            return open_clip.tokenizer.HFTokenizer(name, context_length=context_length, **settings)
        except ModuleNotFoundError as error:
            raise InputError(f"tokenizer {name}: it needs transformers; pip install transformers") from error
    vocab_size = text_cfg.get("vocab_size", CLIP_VOCABULARY)
    merges = default_bpe() if vocab_size == CLIP_VOCABULARY else io.BytesIO(truncated_bpe(vocab_size))
    return BytePairs(merges, context_length, **settings)


def read_pieces(path: str) -> sentencepiece.SentencePieceProcessor:
    """The SentencePiece model at ``path``; an InputError where it is none, or lacks an end token."""
    try:
        pieces = sentencepiece.SentencePieceProcessor(model_proto=files.read_bytes(path))
    except RuntimeError as error:
        raise InputError(f"{path}: not a SentencePiece model; `clipsieve tokenizer` makes one") from error
    if pieces.eos_id() < 0:
        raise InputError(f"{path}: a SentencePiece model without an end token; `clipsieve tokenizer` makes one with it")
    return pieces


def pieces_digest(text_cfg: dict[str, Any]) -> str | None:
    """SHA-256 of the SentencePiece model that ``text_cfg`` names; None where it names none."""
    name = text_cfg.get("hf_tokenizer_name") or ""
    return files.sha256_file(name) if name.endswith(_PIECES_SUFFIX) else None


def portable_text_cfg(text_cfg: dict[str, Any]) -> dict[str, Any]:
    """``text_cfg`` as a model folder has it: a SentencePiece model goes by its name there."""
    name = text_cfg.get("hf_tokenizer_name") or ""
    return {**text_cfg, "hf_tokenizer_name": PIECES_NAME} if name.endswith(_PIECES_SUFFIX) else text_cfg


def resolved_text_cfg(text_cfg: dict[str, Any], folder: str) -> dict[str, Any]:
    """A model folder's ``text_cfg`` with the path of its tokenizer, which open_clip too looks for in the folder."""
    if not text_cfg.get("hf_tokenizer_name"):
        return text_cfg
    pieces = Path(folder) / PIECES_NAME
    if pieces.is_file():
        return {**text_cfg, "hf_tokenizer_name": str(pieces)}
    return {**text_cfg, "hf_tokenizer_name": folder}


def tokenizer_files(text_cfg: dict[str, Any]) -> dict[str, bytes]:
    """What a model folder holds of its tokenizer, by name."""
    name = text_cfg.get("hf_tokenizer_name")
    if not name:
        return {MERGES_NAME: truncated_bpe(text_cfg.get("vocab_size", CLIP_VOCABULARY))}
    if name.endswith(_PIECES_SUFFIX):
        return {PIECES_NAME: files.read_bytes(name), "tokenizer_config.json": _t5_config(read_pieces(name))}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer_for(text_cfg).save_pretrained(folder)  # type: ignore[attr-defined]
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def _t5_config(pieces: sentencepiece.SentencePieceProcessor) -> bytes:
    end, unknown = pieces.id_to_piece(pieces.eos_id()), pieces.id_to_piece(pieces.unk_id())
    config = {
        "tokenizer_class": "T5Tokenizer",
        "eos_token": end,
        "pad_token": end,
        "unk_token": unknown,
        "extra_ids": 0,
        "legacy": False,
    }
    return strict_json.dumps(config, indent=1).encode()
