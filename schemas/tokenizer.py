"""Text to token ids, as a model's configuration says: CLIP's byte-pair encoding, whole or cut to a small vocabulary.

The merges of CLIP's encoding are ordered by how often they apply, so the first of them are an encoding of their own:
a tower with ``vocab_size`` 8192 uses the first 7678 merges and needs a sixth of the embedding table. A model folder
carries its merges as ``bpe.txt.gz``, which ``open_clip.tokenizer.SimpleTokenizer(bpe_path=…)`` reads.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Sequence
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer, default_bpe

from schemas.errors import InputError

Tokenizer = Callable[[Sequence[str]], torch.Tensor]
"""captions[N] -> int64[N, context_length], padded with 0 behind the end token."""

CLIP_VOCABULARY = 49_408
_BYTES_AND_SPECIALS = 2 * 256 + 2


def truncated_bpe(vocab_size: int) -> bytes:
    """CLIP's merges file, gzipped, cut so that its vocabulary has ``vocab_size`` entries; equal sizes, equal bytes."""
    if not _BYTES_AND_SPECIALS < vocab_size <= CLIP_VOCABULARY:
        raise InputError(f"vocab_size {vocab_size} is not within {_BYTES_AND_SPECIALS + 1}..{CLIP_VOCABULARY}")
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as stream:
        header_and_merges = stream.read().split("\n")[: vocab_size - _BYTES_AND_SPECIALS + 1]
    return gzip.compress("\n".join(header_and_merges).encode(), mtime=0)


def tokenizer_for(text_cfg: dict[str, Any]) -> Tokenizer:
    """The tokenizer that an open_clip ``text_cfg`` asks for."""
    context_length = text_cfg.get("context_length", 77)
    vocab_size = text_cfg.get("vocab_size", CLIP_VOCABULARY)
    if text_cfg.get("hf_tokenizer_name"):
        return open_clip.tokenizer.HFTokenizer(
            text_cfg["hf_tokenizer_name"],
            context_length=context_length,
            **text_cfg.get("tokenizer_kwargs", {}),
        )
    merges = default_bpe() if vocab_size == CLIP_VOCABULARY else io.BytesIO(truncated_bpe(vocab_size))
    return SimpleTokenizer(bpe_path=merges, context_length=context_length)
