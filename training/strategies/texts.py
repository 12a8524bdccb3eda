"""What a text tower need not compute: the places after a batch's longest caption, and captions that come again.

Both leave the features as they are, up to rounding. Under a causal mask no token sees a later one, so that nothing
after the token whose feature is taken can change it. Towers that see the whole context keep it.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.transformer import TextTransformer, text_global_pool
from torch import Tensor

from clipsieve.training.towers.tower import ClipModel

_WORTHWHILE = 0.9
"""Share of different captions in a batch up to which each is encoded once."""


def brief_texts(model: ClipModel, texts: Tensor) -> tuple[Tensor, Tensor | None]:
    """int64[B, L] on the CPU -> int64[U, l] and int64[B]: what ``model`` has to encode, and the row of each text in it.

    The rows are None where most texts differ, and U is B. It is a function of the texts alone.
    """
    if _reads_one_token(model):
        texts = texts[:, : 1 + int(_pooled(model, texts.numpy()).max())]
    if not isinstance(model, CLIP) and not isinstance(model.text, TextTransformer):
        return texts, None  # a tower with dropout would draw another one for each of two equal captions
    tokens = texts.numpy()
    numbers: dict[bytes, int] = {}
    rows = np.array([numbers.setdefault(text.tobytes(), len(numbers)) for text in tokens])
    if len(numbers) > _WORTHWHILE * len(rows):
        return texts, None
    firsts = np.unique(rows, return_index=True)[1]
    return _held(tokens[firsts]), _held(rows)


def encode_text(model: ClipModel, texts: Tensor) -> Tensor:
    """[B, D] features of unit length of the texts int64[B, l], which may be shorter than the model's context.

    open_clip's own function adds the position embeddings of the whole context.
    """
    length = texts.shape[1]
    if not isinstance(model, CLIP) or length == model.context_length:
        return model.encode_text(texts, normalize=True)
    dtype = model.transformer.get_cast_dtype()
    tokens = model.token_embedding(texts).to(dtype) + model.positional_embedding[:length].to(dtype)
    tokens = model.ln_final(model.transformer(tokens, attn_mask=model.attn_mask[:length, :length]))
    features = text_global_pool(tokens, texts, model.text_pool_type, eos_token_id=model.text_eos_id)
    projection = model.text_projection
    if projection is not None:
        features = projection(features) if isinstance(projection, torch.nn.Linear) else features @ projection
    return F.normalize(features, dim=-1)


def _held(values: np.ndarray) -> Tensor:
    """A copy in memory that a GPU can fetch from by itself where there is one."""
    held = torch.empty(values.shape, dtype=torch.int64, pin_memory=torch.cuda.is_available())
    held.numpy()[...] = values
    return held


def _reads_one_token(model: ClipModel) -> bool:
    """Whether a causal tower's feature is that of one token, found in the caption."""
    return isinstance(model, CLIP) and model.attn_mask is not None and model.text_pool_type in ("argmax", "eos")


def _pooled(model: CLIP, tokens: np.ndarray) -> np.ndarray:
    """int64[B]: the place of the token whose feature is a text's, of tokens int64[B, L]."""
    return (tokens if model.text_pool_type == "argmax" else tokens == model.text_eos_id).argmax(axis=1)
